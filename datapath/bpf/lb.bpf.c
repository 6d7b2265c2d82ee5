// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * The two programs of every ingress device.
 *
 *   wire ──> lb_ingress (XDP) ──┬── not for a VIP: untouched (most after one look: lb_sieve.h) ──────────────> stack
 *                               ├── local backend: translated (DNAT) ──────> stack ──> pod
 *                               ├── remote backend: IP in IP to the pod, Geneve to its node, or
 *                               │   from an address of this node (SNAT) ───> wire
 *                               ├── answer to such an address: to the client > wire
 *                               ├── IP in IP or Geneve from another node:
 *                               │   taken out, translated (DNAT) ────────> stack ──> pod
 *                               ├── echo request, too big, or nobody serves it and it says so: answered ──> wire
 *                               ├── an unused address of an aggregate ─────> dropped and counted
 *                               └── a VIP that cannot be served: dropped and counted, never sent back to the router
 *   wire <── lb_egress (tc) <── stack <── pod: replies get the VIP back as their source
 *
 * Functions named lb_... are no part of their callers for the verifier: each is verified once, with arguments that it
 * knows nothing of. They hold what is large and not on the way of most packets.
 */
#include "lb_packet.h"

#define PARSE_CTX struct xdp_md
#define PARSE_NAME(name) xdp_##name
#define PARSE_GET(ctx, type, name, offset) const type *name = at(ctx, offset, sizeof(type))
#define PARSE_HAS(ctx, length) xdp_has(ctx, length)
/* Data behind the first buffer counts too; there is none, mostly, so the call is saved. */
static __always_inline bool xdp_has(struct xdp_md *ctx, __u32 length)
{
	return length <= (unsigned long)packet_data_end(ctx) - (unsigned long)packet_data(ctx) || length <= bpf_xdp_get_buff_len(ctx);
}
#include "lb_parse.h"
#undef PARSE_CTX
#undef PARSE_NAME
#undef PARSE_GET
#undef PARSE_HAS
#undef PARSE_FINE
#undef PARSE_FOREIGN
#undef MAX_EXTENSIONS

#define PARSE_CTX struct __sk_buff
#define PARSE_NAME(name) tc_##name
#define PARSE_GET(ctx, type, name, offset)                                                                             \
	type name##_copy;                                                                                              \
	const type *name = bpf_skb_load_bytes(ctx, offset, &name##_copy, sizeof(type)) ? NULL : &name##_copy
#define PARSE_HAS(ctx, length) ((length) <= (ctx)->len)
#include "lb_parse.h"

#include "lb_decap.h"
#include "lb_encap.h"
#include "lb_flow.h"
#include "lb_fragment.h"
#include "lb_frontend.h"
#include "lb_guard.h"
#include "lb_icmp.h"
#include "lb_nat.h"
#include "lb_reject.h"
#include "lb_reply.h"
#include "lb_sieve.h"
#include "lb_snat.h"
#include "lb_source.h"
#include "lb_stacked.h"
#include "lb_sum.h"

/* bpf_fib_lookup is for GPL programs; this folder may be used under either licence. */
char _license[] SEC("license") = "GPL";

/* A packet of this flow would go to the frontend's...; `answer->magic`: it is a probe, and leaves no entry. */
static __always_inline enum lb_reason choose_backend(const struct lb_frontend *frontend, struct packet *flow, bool learn,
						     struct lb_probe *answer, struct lb_backend **backend)
{
	__u32 id;

	if (!frontend->members)
		return LB_no_backend;
	answer->backend = id = choose(frontend, flow, learn);
	if (!id)
		return frontend->serving ? LB_bad_row : LB_no_backend;
	*backend = bpf_map_lookup_elem(&lb_backends, &id);
	return *backend && (*backend)->flags & LB_BACKEND_USED ? 0 : LB_bad_row;
}

#define ICMP_BY_SNAT -1 /* an error for a backend that gets its packets from here: lb_snat_error() */
#define ICMP_BY_GENEVE -2

/* ICMP to a VIP: an echo request, or an error about something that a backend sent, which is taken to that backend. */
__attribute__((noinline)) int lb_icmp(struct xdp_md *ctx, struct packet *p, struct lb_probe *answer)
{
	struct packet *quoted;
	struct lb_frontend frontend = {};
	struct lb_settings *settings;
	struct lb_backend *backend = NULL;
	const struct lb_vip *vip;
	struct target to = {};
	__u32 first = 0;
	int why;

	if (!p || !answer)
		return LB_not_ours;
	vip = find_vip(&p->dest);
	if (!vip)
		return LB_not_ours;
	if (p->flags & (PACKET_FIRST_FRAGMENT | PACKET_LATER_FRAGMENT))
		return LB_fragment;
	if (is_echo_request(p)) {
		settings = bpf_map_lookup_elem(&lb_settings, &first);
		if (!settings || !(settings->flags & LB_SETTING_ECHO))
			return LB_icmp;
		return vip->flags & LB_VIP_SERVES ? lb_echo(ctx, p) : LB_no_backend;
	}
	quoted = parse_quoted(ctx, p);
	if (!quoted || !find_frontend(&quoted->dest, quoted->ports.dest, quoted->protocol, UNFORESEEN, &frontend))
		return LB_icmp;
	/* The flow's client is asked for: the error itself comes from a router anywhere on the way. */
	if (!source_allowed(&frontend, quoted))
		return LB_source_not_allowed;
	why = choose_backend(&frontend, quoted, false, answer, &backend);
	if (why || !backend)
		return why;
	p->hash = quoted->hash;
	if (!(backend->flags & LB_BACKEND_LOCAL)) {
		if (frontend.flags & (LB_FRONTEND_SNAT | LB_FRONTEND_GENEVE))
			return frontend.flags & LB_FRONTEND_SNAT ? ICMP_BY_SNAT : ICMP_BY_GENEVE;
		return encapsulate(ctx, p, answer->backend, backend, answer->magic, &answer->ifindex);
	}
	to.address = backend->address;
	to.port = backend->port_be;
	return translate_error(ctx, p, quoted, &to) ? LB_local : LB_truncated;
}

static __always_inline enum lb_reason deliver(struct xdp_md *ctx, struct packet *p, const struct lb_frontend *frontend,
					      struct lb_probe *answer)
{
	struct lb_backend *backend = NULL;
	struct target to;
	int why = choose_backend(frontend, p, !answer->magic, answer, &backend);

	if (why == LB_no_backend && frontend->flags & LB_FRONTEND_REJECT)
		return lb_reject(ctx, p);
	if (why || !backend)
		return why;
	if (!(backend->flags & LB_BACKEND_LOCAL)) {
		if (frontend->flags & (LB_FRONTEND_SNAT | LB_FRONTEND_GENEVE))
			return frontend->flags & LB_FRONTEND_SNAT ? lb_snat(ctx, p, answer->backend, answer) :
								    lb_geneve(ctx, p, answer->backend, answer);
		return encapsulate(ctx, p, answer->backend, backend, answer->magic, &answer->ifindex);
	}
	to.address = backend->address;
	to.port = backend->port_be;
	if (!answer->magic && !lb_remember_reply(ctx, p, &to))
		return LB_no_reply_entry;
	return translate(ctx, p, &to) ? LB_local : LB_truncated;
}

/* A packet that another node has sent on. `damaged`, `stray`: how it ends if it is not whole, or for no backend of ours. */
static __always_inline enum lb_reason take(struct xdp_md *ctx, const struct packet *outer, const struct lb_probe *answer,
					   enum lb_reason damaged, enum lb_reason stray)
{
	int how = lb_decapsulate(ctx, outer, answer);

	if (how == DECAPSULATE_ERROR)
		how = lb_decapsulate_error(ctx, outer);
	if (how == DECAPSULATE_DAMAGED)
		return damaged;
	return how == LB_not_ours ? stray : how;
}

/* A packet to no VIP of ours: of another node's, or an answer to one of our ports. */
static __always_inline enum lb_reason to_this_node(struct xdp_md *ctx, struct packet *p, struct lb_probe *answer)
{
	int why;

	if (p->protocol == IPPROTO_UDP && p->ports.dest == bpf_htons(LB_GENEVE_PORT)) {
		why = lb_open_geneve(ctx, p);
		if (why == LB_decapsulated)
			return take(ctx, p, answer, LB_geneve_damaged, LB_geneve_stray);
		if (why != LB_not_ours)
			return why;
	}
	return snat_used() ? lb_snat_reply(ctx, p, answer) : LB_not_ours;
}

/* `line`: of the shortcut, if it was foreseen. */
static __always_inline enum lb_reason ingress(struct xdp_md *ctx, struct packet *p, __u32 line, struct lb_probe *answer)
{
	struct lb_frontend frontend;
	int problem = xdp_parse(ctx, p);

	if (problem == PARSE_FOREIGN)
		return LB_not_ours;
	if (is_tunnel(p) && !find_vip(&p->dest))
		return take(ctx, p, answer, LB_not_ours, LB_not_ours);
	if (problem != PARSE_FINE)
		return find_vip(&p->dest) ? problem : LB_not_ours;
	if (is_icmp(p) && snat_used() && !find_vip(&p->dest))
		return lb_snat_reply_error(ctx, p, answer);
	if (is_icmp(p)) {
		problem = lb_icmp(ctx, p, answer);
		if (problem == ICMP_BY_GENEVE)
			return lb_geneve(ctx, p, answer->backend, answer);
		return problem == ICMP_BY_SNAT ? lb_snat_error(ctx, p, answer) : problem;
	}
	if (p->flags & PACKET_LATER_FRAGMENT && !lb_recall_fragment(p))
		return find_vip(&p->dest) ? LB_fragment : LB_not_ours;
	if (!find_frontend(&p->dest, p->ports.dest, p->protocol, line, &frontend))
		return find_vip(&p->dest) ? LB_no_service : to_this_node(ctx, p, answer);
	if (!source_allowed(&frontend, p))
		return LB_source_not_allowed;
	if (p->flags & PACKET_FIRST_FRAGMENT && !answer->magic && !lb_remember_fragment(p))
		return LB_no_fragment_entry;
	return deliver(ctx, p, &frontend, answer);
}

static __always_inline int act(enum lb_reason reason, __u32 ifindex)
{
	switch (reason) {
#define LB_REASON_ACTION(name, action)                                                                                 \
	case LB_##name:                                                                                                \
		return LB_##action;
#define LB_PASS XDP_PASS
#define LB_DROP XDP_DROP
#define LB_TX XDP_TX
#define LB_REDIRECT bpf_redirect(ifindex, 0)
		LB_REASONS(LB_REASON_ACTION)
	default:
		return XDP_DROP;
	}
}

/* See struct lb_probe. */
static __always_inline struct lb_probe *probe_of(struct xdp_md *ctx)
{
	void *data = packet_data(ctx);
	struct lb_probe *probe = packet_data_meta(ctx);

	if ((void *)(probe + 1) > data || probe->magic != LB_PROBE_MAGIC)
		return NULL;
	return probe;
}

/* A packet that did not pass by. */
static __always_inline enum lb_reason examine(struct xdp_md *ctx, __u32 line, struct lb_probe *answer)
{
	struct packet p = {};
	enum lb_reason reason;

	if (!xdp_find_network(ctx, &p))
		return LB_not_ours;
	p.device = device_of(ctx, &p);
	if (!p.device)
		return LB_not_ours;
	reason = ingress(ctx, &p, line, answer);
	return reason == LB_not_ours ? guard(ctx, &p) : reason;
}

SEC("xdp.frags")
int lb_ingress(struct xdp_md *ctx)
{
	struct lb_probe answer = {}, *probe;
	__u32 line = UNFORESEEN;

	if (probe_of(ctx))
		answer.magic = LB_PROBE_MAGIC;
	answer.reason = passes_by(ctx, &line) ? LB_not_ours : examine(ctx, line, &answer);
	if (answer.magic) {
		probe = probe_of(ctx); /* again: it moved with the head of the packet */
		if (probe)
			*probe = answer;
	} else {
		count(answer.reason);
	}
	return act(answer.reason, answer.ifindex);
}

/* Ends flows of lb_snat.h that are over. Run by user space, attached to nothing. */
SEC("syscall")
int lb_snat_sweep(void *ctx)
{
	__u32 now = bpf_ktime_get_ns() >> LB_CLOCK_SHIFT; /* the coarse clock is not for programs of this type */

	(void)ctx;
	bpf_for_each_map_elem(&lb_snat_ports, snat_sweep_one, &now, 0);
	return 0;
}

/* Of a map: the callback that adds an entry, and a function that adds them all. Each has a call of its own: before 6.10 the
 * verifier allows no call to be made for several maps. */
#define SUM_ALL(map, key_type, value_type)                                                                             \
	static long map##_sum_one(void *table, key_type *key, value_type *value, __u64 *sum)                           \
	{                                                                                                              \
		(void)table;                                                                                           \
		*sum += lb_entry_mixed((const void *)key, sizeof(*key), (const void *)value, sizeof(*value));          \
		return 0;                                                                                              \
	}                                                                                                              \
	static __attribute__((noinline)) __u64 map##_sum(void)                                                         \
	{                                                                                                              \
		__u64 sum = 0;                                                                                         \
                                                                                                                       \
		bpf_for_each_map_elem(&map, map##_sum_one, &sum, 0);                                                   \
		return sum;                                                                                            \
	}
SUM_ALL(lb_frontends, struct lb_frontend_key, struct lb_frontend)
SUM_ALL(lb_vips, struct lb_address, struct lb_vip)
SUM_ALL(lb_decaps, struct lb_decap_key, struct lb_decap)

/* Adds up a map, so that user space need not have it handed over to see that it is as it was. Run by user space, as above. */
SEC("syscall")
int lb_sum(struct lb_sum *ctx)
{
	switch (ctx->map) {
	case LB_SUM_FRONTENDS:
		ctx->sum = lb_frontends_sum();
		break;
	case LB_SUM_VIPS:
		ctx->sum = lb_vips_sum();
		break;
	case LB_SUM_DECAPS:
		ctx->sum = lb_decaps_sum();
		break;
	}
	return 0;
}

SEC("tc")
int lb_egress(struct __sk_buff *skb)
{
	enum lb_reason reason = egress(skb);

	if (reason == LB_not_ours) /* most of what a node sends; the ingress side counts what is not ours */
		return -1;         /* TCX_NEXT; TC_ACT_UNSPEC in a filter: the next one is asked */
	count(reason);
	return reason == LB_reply ? -1 : 2; /* TCX_NEXT, TCX_DROP; or TC_ACT_UNSPEC, TC_ACT_SHOT */
}
