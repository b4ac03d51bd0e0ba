// SPDX-License-Identifier: GPL-2.0-only
/* VM.VCPU:OP,OP,... into operations that cannot end, hang or interrupt the guest. */
#include <string.h>

#include "labvmm.h"

#define NAME(reg) #reg,
static const char *const readable[] = {READ_REGISTERS(NAME)};
static const char *const writable[] = {WRITE_REGISTERS(NAME)};

#define N(array)   (sizeof(array) / sizeof((array)[0]))
#define KIND_HVC   0
#define KIND_READ  1
#define KIND_WRITE (KIND_READ + N(readable))

/* Disabled and masked; as far away as the field allows. */
#define SAFE_CTL  2
#define SAFE_CVAL INT64_MAX
#define SAFE_TVAL INT32_MAX

bool op_is_hvc(uint32_t kind)
{
	return kind == KIND_HVC;
}

bool op_is_write(uint32_t kind)
{
	return kind >= KIND_WRITE;
}

const char *op_register(uint32_t kind)
{
	return op_is_write(kind) ? writable[kind - KIND_WRITE] : readable[kind - KIND_READ];
}

static int find(const char *const *names, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(names[i], name))
			return i;
	return -1;
}

static uint64_t safe_value(const char *reg)
{
	if (strstr(reg, "_ctl_"))
		return SAFE_CTL;
	return strstr(reg, "_cval_") ? SAFE_CVAL : SAFE_TVAL;
}

/* Calls after which the vCPU, or the VM, would not go on with its list. */
static bool takes_away(uint32_t id)
{
	static const uint32_t ids[] = {
		0x84000001, 0xc4000001, 0x95c1ba5e, /* CPU_SUSPEND */
		0x84000002, 0x95c1ba5f,		    /* CPU_OFF */
		0x84000008, 0x84000009,		    /* SYSTEM_OFF, SYSTEM_RESET */
		0x8400000e, 0xc400000e,		    /* SYSTEM_SUSPEND */
		0x84000012, 0xc4000012,		    /* SYSTEM_RESET2 */
		0x84000015, 0xc4000015,		    /* SYSTEM_OFF2 */
	};

	for (size_t i = 0; i < N(ids); i++)
		if (ids[i] == id)
			return true;
	return false;
}

static bool is_cpu_on(uint32_t id)
{
	return id == 0x84000003 || id == 0xc4000003 || id == 0x95c1ba60;
}

/* ID or ID:ARG */
static int parse_hvc(struct op *op, char *text)
{
	char *arg = strchr(text, ':');
	uint64_t id;

	if (arg)
		*arg++ = '\0';
	if (parse_u64(text, UINT32_MAX, &id) < 0)
		return error("--ops: hvc: expected a 32-bit function id, not '%s'", text);
	if (arg && parse_u64(arg, UINT64_MAX, &op->x1) < 0)
		return error("--ops: hvc:%s: expected a number as argument, not '%s'", text, arg);
	if (takes_away(id))
		return error("--ops: hvc:%s would stop the vcpu or the vm; the guest ends itself",
			     text);
	if (is_cpu_on(id) && op->x1)
		return error("--ops: hvc:%s: only vcpu 0, which is always on, can be asked for",
			     text);
	op->kind = KIND_HVC;
	op->id = id;
	return 0;
}

static int parse_read(struct op *op, const char *reg)
{
	int index = find(readable, N(readable), reg);

	if (index < 0)
		return error("--ops: read: no such timer register: '%s'", reg);
	op->kind = KIND_READ + index;
	return 0;
}

static int parse_write(struct op *op, const char *reg)
{
	int index = find(writable, N(writable), reg);

	if (index < 0)
		return error("--ops: write: no such writable timer register: '%s'", reg);
	op->kind = KIND_WRITE + index;
	op->x1 = safe_value(reg);
	return 0;
}

static int parse_what(struct op *op, char *text)
{
	char *what = strchr(text, ':');

	if (!what)
		return error("--ops: expected hvc:ID=N, read:REG=N or write:REG=N, not '%s'", text);
	*what++ = '\0';
	if (!strcmp(text, "hvc"))
		return parse_hvc(op, what);
	if (!strcmp(text, "read"))
		return parse_read(op, what);
	if (!strcmp(text, "write"))
		return parse_write(op, what);
	return error("--ops: expected hvc, read or write, not '%s'", text);
}

static int parse_op(struct op *op, char *text)
{
	char *count = strchr(text, '=');

	*op = (struct op){0};
	if (!count)
		return error("--ops: '%s' has no count; add =N", text);
	*count++ = '\0';
	if (parse_u64(count, UINT32_MAX, &op->count) < 0)
		return error("--ops: %s: expected a count up to %u, not '%s'", text, UINT32_MAX,
			     count);
	return parse_what(op, text);
}

static int parse_index(const char *text, long *index)
{
	uint64_t number;

	*index = ALL;
	if (!strcmp(text, "*"))
		return 0;
	if (parse_u64(text, INT32_MAX, &number) < 0)
		return error("--ops: expected VM.VCPU with numbers or *, not '%s'", text);
	*index = number;
	return 0;
}

static int parse_target(struct ops_rule *rule, char *text)
{
	char *vcpu = strchr(text, '.');

	if (!vcpu)
		return error("--ops: expected VM.VCPU:..., not '%s'", text);
	*vcpu++ = '\0';
	return parse_index(text, &rule->vm) < 0 ? -1 : parse_index(vcpu, &rule->vcpu);
}

int ops_parse(struct ops_rule *rule, char *text)
{
	char *list = strchr(text, ':');
	char *item;

	*rule = (struct ops_rule){0};
	if (!list)
		return error("--ops: expected VM.VCPU:OP=N,..., not '%s'", text);
	*list++ = '\0';
	if (parse_target(rule, text) < 0)
		return -1;
	while ((item = strsep(&list, ","))) {
		rule->ops = append(rule->ops, rule->n_ops, sizeof(*rule->ops));
		if (parse_op(&rule->ops[rule->n_ops++], item) < 0)
			return -1;
	}
	return 0;
}
