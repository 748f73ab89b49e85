# SPDX-License-Identifier: Apache-2.0
# The small mistakes that somebody could make in a C file in this project's style. Each is a line of the output: its place, what it is, and
# the line as it becomes (two of them, with \002 between, when they change places), with \001 between.
# -v from=LINE -v to=LINE: only there; -v skip=REGEX: not in lines that match.
function masked(s,    literal) { # strings, characters and comments say nothing
	literal = "\"([^\"\\\\]|\\\\.)*\"|" apostrophe "([^" apostrophe "\\\\]|\\\\.)" apostrophe "|/\\*.*\\*/"
	while (match(s, literal))
		s = substr(s, 1, RSTART - 1) sprintf("%" RLENGTH "s", "") substr(s, RSTART + RLENGTH)
	return s
}
function mistake(what, becomes) {
	if (becomes != $0)
		printf "%d\001%s\001%s\n", NR, what, becomes
}
function replace(at, size, with) {
	mistake(substr($0, at, size) " -> " with, substr($0, 1, at - 1) with substr($0, at + size))
}
function depth(s,    opened) {
	opened = gsub(/\(/, "", s)
	return opened - gsub(/\)/, "", s)
}
BEGIN {
	apostrophe = "\047"
	calls = "(core|slot|task|landing|notify|attempt|route|recover|objectives)_[a-z_]+\\("
	split("<= < >= > == != != == && || || && += -= -= += ++ -- -- ++", pair, " ")
	for (i = 1; i in pair; i += 2)
		other[pair[i]] = pair[i + 1]
	for (i = split("-> << >>", pair, " "); i > 0; i--)
		other[pair[i]] = ""
}
function whole_statement(s) {
	return s ~ /;$/ && depth(s) == 0 && s ~ /^\t+[A-Za-z_(*]/ &&
	    s !~ /^\t+(\(void\)|(const|struct|enum|static|bool|char|int|size_t|double|u?int[0-9]+_t|return|break|continue|case|goto) ?)/
}
{
	line = masked($0)
	before = last
	last = line ~ /^[ \t]*$/ ? last : line
	match(line, /^\t*/)
	# An act and the record of it, or anything done and what comes before it.
	if (NR - 1 >= from && NR <= to && !comment && whole_statement(line) && whole_statement(above) && RLENGTH == above_depth &&
	    before_above ~ /[;{}:]$/ && (line ~ calls || above ~ calls) && !(skip && ($0 ~ skip || above_text ~ skip)) && $0 != above_text)
		printf "%d\001swapped\001%s\002%s\n", NR - 1, $0, above_text
	before_above = above
	above = line
	above_text = $0
	above_depth = RLENGTH
}
comment { comment = line !~ /\*\//; next }
line ~ /^[ \t]*\/\*/ { comment = 1; next }
NR < from || NR > to || (skip && $0 ~ skip) || line !~ /^\t/ || line ~ /^[ \t]*#/ { next }
{
	for (i = 1; i <= length(line); i++) {
		one = substr(line, i, 1)
		two = substr(line, i, 2)
		if (two in other) {
			if (other[two] != "")
				replace(i, 2, other[two])
			i++
		} else if (one == "<" || one == ">")
			replace(i, 1, one "=")
		else if (one == "!")
			replace(i, 1, "")
		else if (substr(line, i, 3) ~ /^ [-+*] $/)
			replace(i, 3, one = substr(line, i + 1, 1) == "+" ? " - " : substr(line, i + 1, 1) == "-" ? " + " : " / ")
		else if (one ~ /[0-9]/) {
			match(substr(line, i), /^[0-9]+/)
			size = RLENGTH
			if (substr(line, i - 1, 1) !~ /[A-Za-z0-9_.]/ && substr(line, i + size, 1) !~ /[A-Za-z0-9_.]/)
				replace(i, size, substr(line, i, size) + 1)
			i += size - 1
		}
	}
	if (line ~ /^\t+(else )?if \(.*\)( \{)?$/ && depth(line) == 0) {
		head = index($0, "if (") + 3
		tail = length(line) - (line ~ /\{$/ ? 2 : 0)
		mistake("never", substr($0, 1, head) "0 && (" substr($0, head + 1, tail - head) ")" substr($0, tail + 1))
		mistake("negated", substr($0, 1, head) "!(" substr($0, head + 1, tail - head) ")" substr($0, tail + 1))
	}
	if (line ~ /;$/ && depth(line) == 0 && line !~ /^\t+(\(void\)|(const|struct|enum|static|bool|char|int|size_t|double|u?int[0-9]+_t) )/ &&
	    (before ~ /[;{}:]$/ || before ~ /^\t*(else|if .*\)|for .*\))$/ || before ~ /^\t*\} else$/))
		mistake("dropped", ";")
}