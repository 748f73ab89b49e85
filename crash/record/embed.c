/* SPDX-License-Identifier: Apache-2.0 */
/* Build tool: embed FILE NAME > FILE.c, a file's bytes as an array. */
#include <stdio.h>

int main(int argc, char **argv)
{
	unsigned long size = 0;
	FILE *in = argc == 4 ? fopen(argv[1], "rbe") : NULL;
	FILE *out = in ? fopen(argv[3], "we") : NULL;
	int c;

	if (!out) {
		fputs("usage: embed FILE NAME TO\n", stderr);
		return 1;
	}
	fprintf(out, "/* Generated from %s. */\n#include \"crash/record/image.h\"\n\nconst unsigned char %s[] = {",
	    argv[2], argv[2]);
	while ((c = getc(in)) != EOF)
		fprintf(out, "%s%d,", size++ % 24 ? "" : "\n\t", c);
	fprintf(out, "\n};\nconst size_t %s_size = %lu;\n", argv[2], size);
	return ferror(in) || fclose(in) || fclose(out);
}
