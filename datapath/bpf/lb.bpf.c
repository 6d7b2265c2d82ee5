// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * The two programs of every ingress device.
 *
 *   wire ──> lb_ingress (XDP) ──┬── not for a VIP: untouched ──────────────> stack
 *                               ├── local backend: translated (DNAT) ──────> stack ──> pod
 *                               ├── remote backend: IPIP to the pod ───────> wire
 *                               ├── an unused address of an aggregate ─────> dropped and counted
 *                               └── a VIP that cannot be served: dropped and counted, never sent back to the router
 *   wire <── lb_egress (tc) <── stack <── pod: replies get the VIP back as their source
 */
#include "lb_encap.h"
#include "lb_flow.h"
#include "lb_guard.h"
#include "lb_reply.h"

/* bpf_fib_lookup is for GPL programs; this folder may be used under either licence. */
char _license[] SEC("license") = "GPL";

static __always_inline bool is_vip(__be32 address)
{
	return bpf_map_lookup_elem(&lb_vips, &address);
}

static __always_inline enum lb_reason deliver(struct xdp_md *ctx, struct iphdr *ip, struct transport *l4,
					      const struct lb_row *row, struct lb_probe *answer, bool probing)
{
	struct lb_backend *backend;

	if (!row->length)
		return LB_no_backend;
	answer->backend = choose(row, flow_hash(ip->saddr, ip->daddr, l4->ports, l4->protocol));
	backend = bpf_map_lookup_elem(&lb_backends, &answer->backend);
	if (!backend || !(backend->flags & LB_BACKEND_USED))
		return LB_bad_row;
	if (!(backend->flags & LB_BACKEND_LOCAL))
		return encapsulate(ctx, ip, backend, &answer->ifindex);
	if (!probing && !remember_reply(ip, l4, backend->address_be, backend->port_be))
		return LB_no_reply_entry;
	translate(ip, l4, backend->address_be, backend->port_be);
	return LB_local;
}

static __always_inline enum lb_reason ingress(struct xdp_md *ctx, struct lb_probe *answer, bool probing)
{
	void *data = packet_data(ctx), *end = packet_data_end(ctx);
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	struct lb_frontend_key key = {};
	enum lb_reason why = LB_no_service;
	struct lb_row *found, row;
	struct transport l4;

	if ((void *)(ip + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP) || ip->version != 4)
		return LB_not_ours;
	if (ip->protocol == IPPROTO_IPIP && !is_vip(ip->daddr))
		return decapsulate(ctx, ip, probing);
	if (!find_transport(ctx, ip, &l4, &why))
		return is_vip(ip->daddr) ? why : LB_not_ours;
	key.vip_be = ip->daddr;
	key.port_be = l4.ports->dest;
	key.protocol = l4.protocol;
	found = bpf_map_lookup_elem(&lb_frontends, &key);
	if (!found)
		return is_vip(ip->daddr) ? LB_no_service : LB_not_ours;
	row = *found;
	return deliver(ctx, ip, &l4, &row, answer, probing);
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

SEC("xdp.frags")
int lb_ingress(struct xdp_md *ctx)
{
	struct lb_probe answer = {}, *probe;
	bool probing = probe_of(ctx);

	answer.reason = ingress(ctx, &answer, probing);
	if (answer.reason == LB_not_ours)
		answer.reason = guard(ctx);
	if (probing) {
		probe = probe_of(ctx); /* again: it moved with the head of the packet */
		if (probe) {
			answer.magic = LB_PROBE_MAGIC;
			*probe = answer;
		}
	} else {
		count(answer.reason);
	}
	return act(answer.reason, answer.ifindex);
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
