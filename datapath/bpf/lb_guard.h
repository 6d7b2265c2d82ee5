/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Addresses of an announced aggregate that are no VIP: the routers send their packets here, and nobody wants them. */
#ifndef LB_GUARD_H
#define LB_GUARD_H

#include "lb_maps.h"
#include "lb_packet.h"

/* Would the kernel send it on? What is for this node itself stays untouched, whatever an aggregate covers. */
__attribute__((noinline)) int lb_is_forwarded(struct xdp_md *ctx, const struct packet *p)
{
	struct bpf_fib_lookup fib = {};

	if (!p)
		return false;
	fib.ifindex = p->device;
	if (p->family == AF_INET) {
		fib.family = AF_INET;
		fib.ipv4_src = p->source.word_be[3];
		fib.ipv4_dst = p->dest.word_be[3];
	} else {
		fib.family = AF_INET6;
		__builtin_memcpy(fib.ipv6_src, &p->source, sizeof(fib.ipv6_src));
		__builtin_memcpy(fib.ipv6_dst, &p->dest, sizeof(fib.ipv6_dst));
	}
	switch (bpf_fib_lookup(ctx, &fib, sizeof(fib), 0)) {
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
static __always_inline enum lb_reason guard(struct xdp_md *ctx, const struct packet *p)
{
	struct lb_guard_key key = { .prefix_length = 128, .address = p->dest };

	return bpf_map_lookup_elem(&lb_guards, &key) && lb_is_forwarded(ctx, p) ? LB_unassigned : LB_not_ours;
}

#endif
