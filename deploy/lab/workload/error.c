// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdarg.h>

#include "labvmm.h"

/* In one write, so that processes that fail together can still be read. */
static void complain(const char *prefix, const char *format, va_list args)
{
	char text[512];

	vsnprintf(text, sizeof(text), format, args);
	fprintf(stderr, "%s: %s%s\n", program_invocation_short_name, prefix, text);
}

int error(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	complain("", format, args);
	va_end(args);
	return -1;
}

int vm_error(const struct vm *vm, const char *format, ...)
{
	char prefix[32];
	va_list args;

	snprintf(prefix, sizeof(prefix), "vm %u: ", vm->index);
	va_start(args, format);
	complain(prefix, format, args);
	va_end(args);
	return -1;
}
