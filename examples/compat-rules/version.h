/*
 * version.h - versions and their order, which is that of semver.org, but with
 * any number of parts: 1.10 is above 1.9, and the same as 1.10.0. What follows
 * a minus is a pre-release, below its release; what follows a plus does not count.
 */
#ifndef VERSION_H
#define VERSION_H

#include <stdbool.h>

static inline bool version_digit(char c) { return c >= '0' && c <= '9'; }
static inline bool version_letter(char c) { return version_digit(c) || c == '-' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

/* The place behind parts that are parted by dots, 0 if one is empty. */
static inline const char *version_parts(const char *p, bool (*of)(char))
{
	for (;; p++) {
		if (!of(*p))
			return 0;
		while (of(*p))
			p++;
		if (*p != '.')
			return p;
	}
}

static inline bool version_is(const char *p)
{
	p = version_parts(p, version_digit);
	if (p && *p == '-')
		p = version_parts(p + 1, version_letter);
	if (p && *p == '+')
		p = version_parts(p + 1, version_letter);
	return p && *p == 0;
}

/* The length of the part at p, and whether it is a number. */
static inline int version_part(const char *p, bool *number)
{
	int n = 0;

	for (*number = true; version_letter(p[n]); n++)
		*number = *number && version_digit(p[n]);
	return n;
}

/* Orders two numbers of any length. */
static inline int version_number(const char *a, int an, const char *b, int bn)
{
	while (an > 0 && *a == '0')
		a++, an--;
	while (bn > 0 && *b == '0')
		b++, bn--;
	if (an != bn)
		return an < bn ? -1 : 1;
	for (; an > 0; an--, a++, b++)
		if (*a != *b)
			return *a < *b ? -1 : 1;
	return 0;
}

/* Orders two parts of pre-releases: numbers are below words. */
static inline int version_word(const char *a, const char *b)
{
	bool anumber, bnumber;
	int an = version_part(a, &anumber), bn = version_part(b, &bnumber);

	if (anumber && bnumber)
		return version_number(a, an, b, bn);
	if (anumber != bnumber)
		return anumber ? -1 : 1;
	for (int i = 0; i < an && i < bn; i++)
		if (a[i] != b[i])
			return a[i] < b[i] ? -1 : 1;
	return an == bn ? 0 : an < bn ? -1 : 1;
}

/* Gives -1, 0 or 1. Both are versions. */
static inline int version_order(const char *a, const char *b)
{
	bool none;
	int c;

	while (version_digit(*a) || version_digit(*b)) { /* a part that is not there is 0 */
		int an = 0, bn = 0;
		while (version_digit(a[an]))
			an++;
		while (version_digit(b[bn]))
			bn++;
		if ((c = version_number(a, an, b, bn)) != 0)
			return c;
		a += an, b += bn;
		a += *a == '.', b += *b == '.';
	}
	if (*a != '-' || *b != '-')
		return (*b == '-') - (*a == '-');
	do {
		a++, b++;
		if ((c = version_word(a, b)) != 0)
			return c;
		a += version_part(a, &none), b += version_part(b, &none);
	} while (*a == '.' && *b == '.');
	return (*a == '.') - (*b == '.');
}

#endif /* VERSION_H */
