// SPDX-License-Identifier: GPL-2.0-only
/*
 * A vCPU's PV clock against the host's CLOCK_MONOTONIC_RAW. The guest reads its clock just before
 * and after each pause, and the VMM its own just after and before: so each pause tells how long
 * the two ways take together, which bounds what the comparison of two pauses can be wrong by.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "labvmm.h"

#define NS_PER_S 1e9

int64_t raw_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_RAW, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static struct clock_host *here(struct vcpu *vcpu)
{
	return &vcpu->clock.hosts[vcpu->clock.n_hosts - 1];
}

/* A frequency that the guest read may be anything, even 0. */
static double ns_of(int64_t ticks, uint32_t hz)
{
	return hz ? ticks * NS_PER_S / hz : 0;
}

static double pv_ns(const struct vcpu *vcpu, uint64_t from, uint64_t to)
{
	return ns_of(to - from, vcpu->vm->spec->pv_freq);
}

/* By the native counter, which no scaling that may be wrong has touched. */
static double native_ns(const struct clock_host *host, uint64_t from, uint64_t to)
{
	return ns_of(to - from, host->structure.native_freq);
}

/* A tick of the counter of a host, and of the PV counter: what rounding can add. */
static double tick_ns(const struct vcpu *vcpu, const struct clock_host *host)
{
	return ns_of(1, host->structure.native_freq) + ns_of(1, vcpu->vm->spec->pv_freq);
}

/* On this host, with the oldest one forgotten when there is no room. */
void clock_begin(struct vcpu *vcpu)
{
	struct clock_watch *clock = &vcpu->clock;

	if (clock->n_hosts == MAX_HOSTS) {
		clock->n_hosts--;
		memmove(clock->hosts, clock->hosts + 1, clock->n_hosts * sizeof(*clock->hosts));
	}
	clock->hosts[clock->n_hosts++] = (struct clock_host){0};
	clock->pause.unentered = true;
}

void clock_enter(struct vcpu *vcpu)
{
	if (!vcpu->clock.pause.unentered)
		return;
	vcpu->clock.pause.unentered = false;
	vcpu->clock.pause.entry_ns = raw_ns();
}

/* What the ways out of the guest and back into it took of this pause. */
static double ways_ns(const struct clock_host *host, const struct clock_pause *pause)
{
	return native_ns(host, pause->before.native, pause->after.native) -
	       (double)(pause->entry_ns - pause->exit_ns);
}

/* From one pause's middle to another's, by the guest's clock and by the host's. */
static double guest_ns(const struct vcpu *vcpu, const struct clock_pause *from,
		       const struct clock_pause *to)
{
	return (pv_ns(vcpu, from->before.pv, to->before.pv) +
		pv_ns(vcpu, from->after.pv, to->after.pv)) /
	       2;
}

static double host_ns(const struct clock_pause *from, const struct clock_pause *to)
{
	return ((double)(to->exit_ns - from->exit_ns) + (double)(to->entry_ns - from->entry_ns)) /
	       2;
}

/* The two middles of a pause are apart by half of its ways at most. */
static void compare(const struct vcpu *vcpu, struct clock_host *host,
		    const struct clock_pause *from, const struct clock_pause *to)
{
	double elapsed = host_ns(from, to);
	double ways = (ways_ns(host, from) + ways_ns(host, to)) / 2;
	double bound = (ways + tick_ns(vcpu, host)) / elapsed * 1e6;

	if (host->interval_ns > 0 && bound >= host->bound_ppm)
		return;
	host->interval_ns = elapsed;
	host->ppm = (guest_ns(vcpu, from, to) / elapsed - 1) * 1e6;
	host->bound_ppm = bound;
}

/* The rate, by the two pauses that tell it best. */
static void measure_rate(struct vcpu *vcpu)
{
	const struct clock_watch *clock = &vcpu->clock;

	for (unsigned int to = 1; to < clock->n_pauses; to++)
		for (unsigned int from = 0; from < to; from++)
			compare(vcpu, here(vcpu), &clock->pauses[from], &clock->pauses[to]);
}

/* When there is no room, every second one goes. */
static void keep(struct clock_watch *clock, const struct clock_pause *pause)
{
	if (clock->n_pauses == MAX_PAUSES) {
		for (unsigned int i = 0; i < MAX_PAUSES / 2; i++)
			clock->pauses[i] = clock->pauses[2 * i];
		clock->n_pauses = MAX_PAUSES / 2;
	}
	clock->pauses[clock->n_pauses++] = *pause;
}

/*
 * The clock across the migration: it has to have gone on by what the VMM told the host, and by the
 * time from the last reading to the count's saving and from its restoring to the first reading.
 */
static void measure_jump(struct vcpu *vcpu, const struct clock_pause *arrival)
{
	struct clock_host *host = here(vcpu);
	const struct clock_host *before = host - 1;
	const struct guest_clock *guest = &vcpu->guest->clock;
	const struct restored_count *count = &vcpu->vm->restored;
	double slack = tick_ns(vcpu, before) + tick_ns(vcpu, host);
	double running = native_ns(host, arrival->after.native, guest->before.native);

	host->jumped = true;
	host->skip_ns = count->skip_ns;
	host->jump_ns = pv_ns(vcpu, before->last.pv, arrival->after.pv);
	host->jump_least_ns = count->skip_ns + before->stopped_least_ns +
			      (double)(arrival->entry_ns - count->set_after_ns) - slack;
	host->jump_most_ns = count->skip_ns + before->stopped_most_ns +
			     (double)(vcpu->clock.pause.exit_ns - count->set_before_ns) - running +
			     slack;
}

/* The pause whose other end the guest has just told. */
static void complete(struct vcpu *vcpu, const struct clock_pause *pause)
{
	if (pause->exit_ns) {
		keep(&vcpu->clock, pause);
		return;
	}
	here(vcpu)->first = pause->after;
	measure_jump(vcpu, pause);
}

/* The guest has just left for a pause. */
void clock_leave(struct vcpu *vcpu)
{
	const struct guest_clock *guest = &vcpu->guest->clock;
	struct clock_watch *clock = &vcpu->clock;
	int64_t now = raw_ns();

	if (!vcpu->vm->guest->lpt_ipa)
		return;
	clock->previous = clock->pause;
	clock->previous.after = guest->after;
	clock->pause =
		(struct clock_pause){.exit_ns = now, .before = guest->before, .unentered = true};
	here(vcpu)->structure = guest->copy;
	here(vcpu)->last = guest->before;
	here(vcpu)->deadline = vcpu->vm->guest->deadline ? guest->deadline : 0;
	if (!here(vcpu)->first.native)
		here(vcpu)->first = guest->before;
	if (guest->after.native)
		complete(vcpu, &clock->previous);
}

/* The vCPU has ended, or stays in its pause. */
void clock_end(struct vcpu *vcpu)
{
	measure_rate(vcpu);
}

/* The VM stays in this pause: its count was saved between two moments. */
void clock_saved(struct vcpu *vcpu, int64_t before_ns, int64_t after_ns)
{
	const struct clock_pause *previous = &vcpu->clock.previous;
	struct clock_host *host = here(vcpu);
	double running = 0;

	if (previous->after.native)
		running = native_ns(host, previous->after.native, host->last.native);
	host->stopped_least_ns = before_ns - vcpu->clock.pause.exit_ns;
	host->stopped_most_ns = (double)(after_ns - previous->entry_ns) - running;
}

static bool jumped_wrongly(const struct clock_host *host)
{
	return host->jumped &&
	       (host->jump_ns < host->jump_least_ns || host->jump_ns > host->jump_most_ns);
}

static uint64_t to_pv(const struct lpt_structure *lpt, uint64_t native)
{
	return (unsigned __int128)native * lpt->scale_mult >> (lpt->fracbits & 127);
}

/* PV ticks by which its timer's deadline is another one than before; rounding is not counted. */
static int64_t deadline_moved(const struct clock_host *before, const struct clock_host *host)
{
	int64_t moved = to_pv(&host->structure, host->deadline) -
			to_pv(&before->structure, before->deadline);
	int64_t rounding = to_pv(&before->structure, 1) + to_pv(&host->structure, 1) + 2;

	return llabs(moved) > rounding ? moved : 0;
}

static int check_deadline(const struct vcpu *vcpu, const struct clock_host *host)
{
	int64_t moved = 0;

	if (host->jumped && host->deadline)
		moved = deadline_moved(host - 1, host);
	if (!moved)
		return 0;
	return vm_error(vcpu->vm,
			"vcpu %u: its timer's deadline moved by %ld PV ticks over the migration",
			vcpu->index, moved);
}

int clock_check(const struct vcpu *vcpu)
{
	const struct clock_host *host = &vcpu->clock.hosts[vcpu->clock.n_hosts - 1];
	const struct guest_clock *guest = &vcpu->guest->clock;
	int ret = 0;

	if (guest->backwards)
		ret = vm_error(vcpu->vm,
			       "vcpu %u: its PV clock went back %lu times, by %lu ticks at most",
			       vcpu->index, guest->backwards, guest->most);
	if (vcpu->clock.n_hosts && jumped_wrongly(host))
		ret = vm_error(vcpu->vm,
			       "vcpu %u: its PV clock went on by %.0f ns over the migration, where "
			       "%.0f to %.0f were right",
			       vcpu->index, host->jump_ns, host->jump_least_ns, host->jump_most_ns);
	if (vcpu->clock.n_hosts && check_deadline(vcpu, host) < 0)
		ret = -1;
	return ret;
}

static void print_rate(FILE *out, const struct clock_host *host)
{
	if (host->interval_ns > 0)
		fprintf(out, "{\"interval_ns\":%.0f,\"ppm\":%.3f,\"bound_ppm\":%.3f}",
			host->interval_ns, host->ppm, host->bound_ppm);
	else
		fputs("null", out);
}

static void print_jump(FILE *out, const struct clock_host *host)
{
	if (host->jumped)
		fprintf(out,
			"{\"ns\":%.0f,\"least_ns\":%.0f,\"most_ns\":%.0f,\"right\":%s,"
			"\"skip_ns\":%.0f}",
			host->jump_ns, host->jump_least_ns, host->jump_most_ns,
			jumped_wrongly(host) ? "false" : "true", host->skip_ns);
	else
		fputs("null", out);
}

static void print_host(FILE *out, const struct clock_host *host)
{
	fputs("{\"structure\":", out);
	print_structure(out, &host->structure);
	fprintf(out,
		",\"first\":{\"native\":%lu,\"pv\":%lu},\"last\":{\"native\":%lu,\"pv\":%lu},"
		"\"jump\":",
		host->first.native, host->first.pv, host->last.native, host->last.pv);
	print_jump(out, host);
	fputs(",\"deadline\":", out);
	if (host->deadline)
		fprintf(out, "{\"native\":%lu,\"pv\":%lu}", host->deadline,
			to_pv(&host->structure, host->deadline));
	else
		fputs("null", out);
	fputs(",\"rate\":", out);
	print_rate(out, host);
	fputc('}', out);
}

void clock_print(FILE *out, const struct vcpu *vcpu)
{
	const struct guest_clock *guest = &vcpu->guest->clock;
	bool first = true;

	fputs(",\"clock\":", out);
	if (!guest->samples) {
		fputs("null", out);
		return;
	}
	fprintf(out,
		"{\"samples\":%lu,\"rereads\":%lu,\"backwards\":%lu,\"backwards_ticks\":%lu,"
		"\"hosts\":[",
		guest->samples, guest->rereads, guest->backwards, guest->most);
	for (unsigned int i = 0; i < vcpu->clock.n_hosts; i++) {
		if (!vcpu->clock.hosts[i].last.native)
			continue;
		separate(out, &first);
		print_host(out, &vcpu->clock.hosts[i]);
	}
	fputs("]}", out);
}
