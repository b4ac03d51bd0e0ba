// SPDX-License-Identifier: GPL-2.0-only
/* VM.VCPU:OP,OP,... into operations that cannot end, hang or interrupt the guest. */
#include <string.h>

#include "labvmm.h"

#define NAME(reg) #reg,
static const char *const readable[] = {READ_REGISTERS(NAME)};
static const char *const writable[] = {WRITE_REGISTERS(NAME)};

#define N(array) (sizeof(array) / sizeof((array)[0]))
_Static_assert(KIND_WRITE == KIND_READ + N(readable), "KIND_WRITE");
_Static_assert(KIND_EMPTY == KIND_WRITE + N(writable), "KIND_EMPTY");

/* Disabled and masked; as far away as the field allows. */
#define SAFE_CTL  2
#define SAFE_CVAL INT64_MAX
#define SAFE_TVAL INT32_MAX

/* How far off a tick is: so much that a slow host, too, sets it before it is over. */
#define TICK_US 2000

bool op_is_register(uint32_t kind)
{
	return kind >= KIND_READ && kind < KIND_EMPTY;
}

bool op_is_tick(uint32_t kind)
{
	return kind == KIND_TICK_PHYSICAL || kind == KIND_TICK_VIRTUAL;
}

const char *op_timer(uint32_t kind)
{
	return kind == KIND_TICK_PHYSICAL ? "physical" : "virtual";
}

bool op_is_write(uint32_t kind)
{
	return kind >= KIND_WRITE && kind < KIND_EMPTY;
}

const char *op_register(uint32_t kind)
{
	return op_is_write(kind) ? writable[kind - KIND_WRITE] : readable[kind - KIND_READ];
}

/* As --ops has it. */
const char *op_label(const struct guest_op *op, char *text, size_t size)
{
	static const char *const calls[] = {
		[KIND_HVC] = "hvc", [KIND_SPRAY] = "spray", [KIND_DIRTY] = "hvc-dirty"};

	if (op_is_register(op->kind))
		snprintf(text, size, "%s:%s", op_is_write(op->kind) ? "write" : "read",
			 op_register(op->kind));
	else if (op_is_tick(op->kind))
		snprintf(text, size, "tick:%s", op_timer(op->kind));
	else if (op->kind == KIND_EMPTY)
		snprintf(text, size, "empty");
	else
		snprintf(text, size, "%s:0x%08x", calls[op->kind], op->id);
	return text;
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
static const uint32_t takes_away[] = {
	0x84000001, 0xc4000001, 0x95c1ba5e, /* CPU_SUSPEND */
	0x84000002, 0x95c1ba5f,		    /* CPU_OFF */
	0x84000008, 0x84000009,		    /* SYSTEM_OFF, SYSTEM_RESET */
	0x8400000e, 0xc400000e,		    /* SYSTEM_SUSPEND */
	0x84000012, 0xc4000012,		    /* SYSTEM_RESET2 */
	0x84000015, 0xc4000015,		    /* SYSTEM_OFF2 */
};

static bool is_cpu_on(uint32_t id)
{
	return id == 0x84000003 || id == 0xc4000003 || id == 0x95c1ba60;
}

static int check_id(const char *text, uint32_t id, uint64_t x1)
{
	for (size_t i = 0; i < N(takes_away); i++)
		if (takes_away[i] == id)
			return error("--ops: %s would stop the vcpu or the vm; the guest ends "
				     "itself",
				     text);
	if (is_cpu_on(id) && x1)
		return error("--ops: %s: only vcpu 0, which is always on, can be asked for", text);
	return 0;
}

static int parse_id(const char *text, uint32_t *id)
{
	uint64_t number;

	if (parse_u64(text, UINT32_MAX, &number) < 0)
		return error("--ops: expected a 32-bit function id, not '%s'", text);
	*id = number;
	return 0;
}

/* ID or ID:NUMBER; `number` keeps its value in the first case. */
static int parse_id_and(struct op *op, char *text, uint64_t *number)
{
	char *rest = strchr(text, ':');

	if (rest)
		*rest++ = '\0';
	if (parse_id(text, &op->id) < 0)
		return -1;
	if (rest && parse_u64(rest, UINT64_MAX, number) < 0)
		return error("--ops: %s: expected a number after it, not '%s'", text, rest);
	return 0;
}

static int parse_hvc(struct op *op, char *text)
{
	op->kind = KIND_HVC;
	return parse_id_and(op, text, &op->x1) < 0 ? -1 : check_id(text, op->id, op->x1);
}

static int parse_dirty(struct op *op, char *text)
{
	op->kind = KIND_DIRTY;
	return parse_id(text, &op->id) < 0 ? -1 : check_id(text, op->id, 0);
}

static bool is_sprayed(const struct op *op, uint32_t id)
{
	return id >= op->id && (id - op->id) % op->stride == 0 &&
	       (id - op->id) / op->stride < op->count;
}

/* FIRST or FIRST:STRIDE; no id of the range may end the guest. */
static int parse_spray(struct op *op, char *text)
{
	op->kind = KIND_SPRAY;
	op->stride = 1;
	if (parse_id_and(op, text, &op->stride) < 0)
		return -1;
	if (!op->stride || !op->count || op->stride > UINT32_MAX ||
	    (op->count - 1) * op->stride > UINT32_MAX - op->id)
		return error("--ops: spray:%s: %lu ids, each %lu after the one before, are no "
			     "range of 32-bit ids",
			     text, op->count, op->stride);
	for (size_t i = 0; i < N(takes_away); i++)
		if (is_sprayed(op, takes_away[i]))
			return check_id(text, takes_away[i], 0);
	return 0;
}

static int parse_read(struct op *op, char *reg)
{
	int index = find(readable, N(readable), reg);

	if (index < 0)
		return error("--ops: read: no such timer register: '%s'", reg);
	op->kind = KIND_READ + index;
	return 0;
}

/* REG or REG:VALUE. */
static int parse_write(struct op *op, char *reg)
{
	char *value = strchr(reg, ':');
	int index;

	if (value)
		*value++ = '\0';
	index = find(writable, N(writable), reg);
	if (index < 0)
		return error("--ops: write: no such writable timer register: '%s'", reg);
	op->kind = KIND_WRITE + index;
	op->x1 = safe_value(reg);
	if (value && parse_u64(value, UINT64_MAX, &op->x1) < 0)
		return error("--ops: write: %s: expected a value, not '%s'", reg, value);
	return 0;
}

static int parse_tick(struct op *op, char *timer)
{
	bool physical = !strcmp(timer, "physical");

	if (!physical && strcmp(timer, "virtual"))
		return error("--ops: tick: expected physical or virtual, not '%s'", timer);
	op->kind = physical ? KIND_TICK_PHYSICAL : KIND_TICK_VIRTUAL;
	op->x1 = counter_frequency() * TICK_US / 1000000;
	return 0;
}

static int parse_what(struct op *op, char *text)
{
	static const struct {
		const char *name;
		int (*parse)(struct op *op, char *text);
	} kinds[] = {
		{"hvc", parse_hvc},	{"read", parse_read},	    {"write", parse_write},
		{"spray", parse_spray}, {"hvc-dirty", parse_dirty}, {"tick", parse_tick},
	};
	char *what = strchr(text, ':');

	if (!what)
		return error("--ops: expected KIND:WHAT=N, not '%s'", text);
	*what++ = '\0';
	for (size_t i = 0; i < N(kinds); i++)
		if (!strcmp(text, kinds[i].name))
			return kinds[i].parse(op, what);
	return error("--ops: expected hvc, hvc-dirty, spray, read, write or tick, not '%s'", text);
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
