/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Addresses of an announced aggregate that are no VIP: the routers send their packets here, and nobody wants them. */
#ifndef LB_GUARD_H
#define LB_GUARD_H

#include <linux/ipv6.h>

#include "lb_encap.h"

#define AF_INET6 10

/* 128 bits hold both families: IPv4 as an IPv4-mapped address (RFC 4291 section 2.5.5.2), so one trie is enough. */
static __always_inline void map_address(struct lb_guard_key *key, __be32 address)
{
	key->address[0] = 0;
	key->address[1] = 0;
	key->address[2] = bpf_htonl(0xffff);
	key->address[3] = address;
}

/* Would the kernel send it on? What is for this node itself stays untouched, whatever an aggregate covers. */
static __always_inline bool is_forwarded(struct xdp_md *ctx, struct bpf_fib_lookup *fib)
{
	switch (bpf_fib_lookup(ctx, fib, sizeof(*fib), 0)) {
	case BPF_FIB_LKUP_RET_NOT_FWDED: /* a local address, or no route at all: the kernel answers either */
	case BPF_FIB_LKUP_RET_FWD_DISABLED: /* asked before the address is: says nothing about it, but nothing is sent on */
		return false;
	default:
		return true;
	}
}

/*
 * The verdict over a packet that is for no VIP: dropped if its destination lies in a guarded aggregate and it would only
 * travel back to where it came from.
 */
static __always_inline enum lb_reason guard(struct xdp_md *ctx)
{
	void *data = packet_data(ctx), *end = packet_data_end(ctx);
	struct lb_guard_key key = {};
	struct bpf_fib_lookup fib = { .ifindex = ctx->ingress_ifindex };
	struct ethhdr *eth = data;

	if ((void *)(eth + 1) > end)
		return LB_not_ours;
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = (void *)(eth + 1);

		if ((void *)(ip + 1) > end)
			return LB_not_ours;
		map_address(&key, ip->daddr);
		fib.family = AF_INET;
		fib.ipv4_src = ip->saddr;
		fib.ipv4_dst = ip->daddr;
	} else if (eth->h_proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = (void *)(eth + 1);

		if ((void *)(ip + 1) > end)
			return LB_not_ours;
		__builtin_memcpy(key.address, &ip->daddr, sizeof(key.address));
		fib.family = AF_INET6;
		__builtin_memcpy(fib.ipv6_src, &ip->saddr, sizeof(fib.ipv6_src));
		__builtin_memcpy(fib.ipv6_dst, &ip->daddr, sizeof(fib.ipv6_dst));
	} else {
		return LB_not_ours;
	}
	key.prefix_length = 128;
	if (!bpf_map_lookup_elem(&lb_guards, &key) || !is_forwarded(ctx, &fib))
		return LB_not_ours;
	return LB_unassigned;
}

#endif
