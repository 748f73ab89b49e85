# SPDX-License-Identifier: Apache-2.0
# The table of what mutate_core.sh has done. Fields: file, line, what, text, verdict, first to notice, where, all that noticed.
function kind(what) {
	if (what ~ /^(never|negated|dropped|swapped)$/)
		return what
	if (what ~ /^[0-9]+ -> [0-9]+$/)
		return "off by one"
	if (what ~ /^(<|>|<=|>=|==|!=) -> /)
		return "comparison"
	if (what ~ /^(&&|\|\||!) -> /)
		return "logic"
	return "arithmetic"
}
BEGIN {
	FS = "\t"
	kinds = split("negated,never,comparison,logic,dropped,swapped,off by one,arithmetic", names, ",")
}
$5 == "compiler" { compiler++; next }
{
	all++
	k = kind($3)
	of[k]++
	verdicts[$5]++
	if ($5 == "invariant") {
		by[k]++
		first[$6]++
		n = split($8, noticed, ",")
		for (i = 1; i <= n; i++)
			any[noticed[i]]++
		if (n == 1)
			only[noticed[1]]++
	} else if ($5 == "crash" || $5 == "hang") {
		crashed[k]++
	} else if ($5 == "unit") {
		unit[k]++
		tests[$6]++
		sieved[unit_count++] = $1 ":" $2 ": " $3 ": " $4 " (" $6 ")"
	} else {
		left[survivors++] = $1 ":" $2 ": " $3 ": " $4
		survived[k]++
	}
}
END {
	if (!all) {
		print "nothing was done yet"
		exit
	}
	killed = verdicts["invariant"] + verdicts["crash"] + verdicts["hang"]
	printf "%d mutants (and %d that do not compile): %d noticed by simulation (%.1f %%: %d by an invariant, %d by a crash, %d by a hang), ", all, compiler,
	    killed, 100 * killed / all, verdicts["invariant"], verdicts["crash"], verdicts["hang"]
	printf "%d by a unit test of the core only, %d by nothing\n\n", verdicts["unit"], survivors
	print "| kind of mistake | mutants | by an invariant | crash, hang | unit test only | nothing |\n|---|---|---|---|---|---|"
	for (i = 1; i <= kinds; i++)
		if (of[names[i]])
			printf "| %s | %d | %d | %d | %d | %d |\n", names[i], of[names[i]], by[names[i]], crashed[names[i]], unit[names[i]],
			    survived[names[i]]
	print "\n| invariant | first to notice | notices | alone |\n|---|---|---|---|"
	for (name in any)
		printf "| %s | %d | %d | %d |\n", name, first[name], any[name], only[name] | "sort"
	close("sort")
	print "\nNoticed by a unit test only:"
	for (i = 0; i < unit_count; i++)
		print "  " sieved[i]
	print "\nNoticed by nothing:"
	for (i = 0; i < survivors; i++)
		print "  " left[i]
}
