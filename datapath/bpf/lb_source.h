/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Services that let in certain clients only (loadBalancerSourceRanges). */
#ifndef LB_SOURCE_H
#define LB_SOURCE_H

#include "lb_maps.h"
#include "lb_packet.h"

/* Is the client of this flow in the set? */
__attribute__((noinline)) int lb_source_in(const struct packet *flow, __u32 set)
{
	struct lb_source_key key;

	if (!flow)
		return false;
	key.prefix_length = 8 * (sizeof(key.set) + sizeof(key.address));
	key.set = set;
	key.address = flow->source;
	return bpf_map_lookup_elem(&lb_sources, &key) != NULL;
}

/*
 * Asked of every packet and not of the first of a flow alone: who is no longer let in loses also the connections that he
 * has. Before anything is remembered of the packet, so that those outside fill no table.
 */
static __always_inline bool source_allowed(const struct lb_frontend *frontend, const struct packet *flow)
{
	return !frontend->sources || lb_source_in(flow, frontend->sources);
}

#endif
