/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* The way to a backend on another node, as the kernel has it, and whether a packet may take it. */
#ifndef LB_HOP_H
#define LB_HOP_H

#include "lb_icmp.h"
#include "lb_maps.h"
#include "lb_packet.h"

static __always_inline void hop_of(struct lb_hop *hop, const struct bpf_fib_lookup *fib)
{
	hop->ifindex = fib->ifindex;
	hop->mtu = fib->mtu_result;
	__builtin_memcpy(&hop->dmac, fib->dmac, sizeof(hop->dmac));
	__builtin_memcpy(&hop->smac, fib->smac, sizeof(hop->smac));
	hop->pad = 0;
}

/* The destination of the outer header: what the FIB is asked for. */
static __always_inline const struct lb_address *tunnel_end(__u32 id, const struct lb_backend *backend)
{
	return backend->flags & LB_BACKEND_GENEVE ? bpf_map_lookup_elem(&lb_nodes, &id) : &backend->address;
}

/*
 * Asks the kernel for the way to a backend: FIB and neighbour, straight to the pod's address, so whatever routes Pod CIDRs
 * there also routes this; or to its node's. 0, or the reason why there is none.
 */
__attribute__((noinline)) int lb_next_hop(struct xdp_md *ctx, const struct packet *p, __u32 id, struct lb_hop *hop)
{
	const struct lb_backend *backend = bpf_map_lookup_elem(&lb_backends, &id);
	const struct lb_address *end;
	struct bpf_fib_lookup fib = {};

	if (!p || !hop || !backend || no_address(&backend->source))
		return LB_no_route;
	end = tunnel_end(id, backend);
	if (!end)
		return LB_no_route;
	fib.ifindex = p->device;
	fib.tot_len = 1; /* not 0: then the MTU is told */
	if (p->family == AF_INET) {
		fib.family = AF_INET;
		fib.l4_protocol = IPPROTO_IPIP;
		fib.ipv4_src = backend->source.word_be[3];
		fib.ipv4_dst = end->word_be[3];
	} else {
		fib.family = AF_INET6;
		fib.l4_protocol = IPPROTO_IPV6;
		__builtin_memcpy(fib.ipv6_src, &backend->source, sizeof(fib.ipv6_src));
		__builtin_memcpy(fib.ipv6_dst, end, sizeof(fib.ipv6_dst));
	}
	if (backend->flags & LB_BACKEND_GENEVE) {
		fib.l4_protocol = IPPROTO_UDP;
		fib.dport = bpf_htons(LB_GENEVE_PORT);
	}
	switch (bpf_fib_lookup(ctx, &fib, sizeof(fib), 0)) {
	case BPF_FIB_LKUP_RET_SUCCESS:
		break;
	case BPF_FIB_LKUP_RET_NO_NEIGH:
		return LB_no_neighbour;
	case BPF_FIB_LKUP_RET_FWD_DISABLED:
		return LB_forwarding_off;
	default:
		return LB_no_route;
	}
	hop_of(hop, &fib);
	return 0;
}

/*
 * The way to a backend, asked for at most once a jiffy: so a change of routes or neighbours is followed within
 * milliseconds, and at high rates a packet does not pay for it.
 *
 * The answer is kept in the backend's entry. Two CPUs may write it at once, but then both have just asked; a reader that
 * meets a writer in the middle of a change sends one packet to nowhere. A probe asks for itself and keeps nothing.
 */
static __always_inline int find_hop(struct xdp_md *ctx, const struct packet *p, __u32 id, struct lb_backend *backend,
				    bool probing, struct lb_hop *hop)
{
	__u32 now = bpf_jiffies64();
	int why;

	if (!probing && backend->stamp == now && backend->hop.ifindex) {
		*hop = backend->hop;
		return 0;
	}
	why = lb_next_hop(ctx, p, id, hop);
	if (why || probing)
		return why;
	backend->hop = *hop;
	backend->stamp = now;
	return 0;
}

/* A bridge that floods gives everyone a copy; only the host that is addressed may send it on. Its address was just told if
 * the packet leaves by the device that it came in by. */
static __always_inline bool flooded(struct xdp_md *ctx, const struct packet *p, const struct lb_hop *hop)
{
	struct ether *eth = at(ctx, 0, sizeof(*eth));

	return hop->ifindex == p->device && eth && !same_mac(&eth->dest, &hop->smac);
}

/* All that is asked before a packet is changed that is to become `longer`. 0, or how it ends. */
static __always_inline int find_way(struct xdp_md *ctx, const struct packet *p, __u32 id, struct lb_backend *backend,
				    bool probing, __u32 longer, struct lb_hop *hop)
{
	int why;

	if (p->ttl <= 1)
		return LB_ttl;
	why = find_hop(ctx, p, id, backend, probing, hop);
	if (why)
		return why;
	if (flooded(ctx, p, hop))
		return LB_other_host;
	return p->length + longer > hop->mtu ? lb_mtu_answer(ctx, p, hop->mtu - longer) : 0;
}

#endif
