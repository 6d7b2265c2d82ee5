/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * The maps. The loader sets max_entries to the operator's limits and pins every map by its name.
 *
 * lb_rows and lb_backends are mapped into user space, which fills them in place: a block is written where no frontend
 * points yet, and becomes visible by one update of lb_frontends. lb_shortcuts repeats what that says (lb_frontend.h).
 *
 * What packets may fill is bounded and makes room by itself (LRU). It comes in two tables where a flood must not cost
 * what is established: new entries are on probation in the one, and move to the other when they have proved themselves.
 */
#ifndef LB_MAPS_H
#define LB_MAPS_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "lb_abi.h"

#define LB_MAP(name, kind, flags, entries, key_type, value_type)                                                       \
	struct {                                                                                                       \
		__uint(type, BPF_MAP_TYPE_##kind);                                                                     \
		__uint(map_flags, flags);                                                                              \
		__uint(max_entries, entries);                                                                          \
		__type(key, key_type);                                                                                 \
		__type(value, value_type);                                                                             \
	} name SEC(".maps")

LB_MAP(lb_frontends, HASH, 0, 65536, struct lb_frontend_key, struct lb_frontend);

/* Of most of them, for a shorter way there. */
LB_MAP(lb_shortcuts, ARRAY, BPF_F_MMAPABLE, 1 << LB_SHORTCUT_BITS, __u32, struct lb_shortcut);
LB_MAP(lb_places, ARRAY, BPF_F_MMAPABLE, 1, __u32, struct lb_places);

/* Addresses that are ours, whatever the port. */
LB_MAP(lb_vips, HASH, 0, 65536, struct lb_address, struct lb_vip);

/* What lb_vips and lb_guards amount to, for the first look. */
LB_MAP(lb_sieve, ARRAY, BPF_F_MMAPABLE, 1, __u32, struct lb_sieve);

LB_MAP(lb_rows, ARRAY, BPF_F_MMAPABLE, 16384, __u32, struct lb_row_page);
LB_MAP(lb_ranks, ARRAY, BPF_F_MMAPABLE, 1, __u32, struct lb_ranks);
LB_MAP(lb_backends, ARRAY, BPF_F_MMAPABLE, 262144, __u32, struct lb_backend);
/* By backend id; only those with LB_BACKEND_GENEVE mean anything. Not in their entries, which are a cache line as they are. */
LB_MAP(lb_nodes, ARRAY, BPF_F_MMAPABLE, 262144, __u32, struct lb_address);
LB_MAP(lb_decaps, HASH, 0, 65536, struct lb_decap_key, struct lb_decap);

/* See struct lb_guard_key; value is unused. Empty unless an aggregate is announced, and then a lookup costs next to nothing. */
LB_MAP(lb_guards, LPM_TRIE, BPF_F_NO_PREALLOC, 4096, struct lb_guard_key, __u32);

/* See struct lb_source_key. Only packets for frontends that name a set are looked up. */
LB_MAP(lb_sources, LPM_TRIE, BPF_F_NO_PREALLOC, 65536, struct lb_source_key, __u32);

/* Flows in slots that are in transition: after their first packet, and after their second. */
LB_MAP(lb_flows_new, LRU_HASH, 0, 65536, struct lb_flow_key, struct lb_flow);
LB_MAP(lb_flows, LRU_HASH, 0, 262144, struct lb_flow_key, struct lb_flow);

/* Written by the ingress program, read by the egress program: connections whose handshake has ended, those whose has not,
 * and datagrams, which have none. */
LB_MAP(lb_replies, LRU_HASH, 0, 262144, struct lb_reply_key, struct lb_reply);
LB_MAP(lb_replies_new, LRU_HASH, 0, 65536, struct lb_reply_key, struct lb_reply);
LB_MAP(lb_replies_udp, LRU_HASH, 0, 65536, struct lb_reply_key, struct lb_reply);

/*
 * Flows to remote backends from an address of this node, by what the client and by what the backend sends. Not LRU: no
 * flood may push an established flow out. What has ended is given up by its age (lb_snat_ports.h). Memory is taken from the
 * start: a program that has to ask for it (BPF_F_NO_PREALLOC) may be refused some when many flows come at once.
 */
LB_MAP(lb_snat_flows, HASH, 0, 65536, struct lb_flow_key, struct lb_snat_flow);
LB_MAP(lb_snat_ports, HASH, 0, 65536, struct lb_snat_key, struct lb_snat_port);

LB_MAP(lb_fragments, LRU_HASH, 0, 8192, struct lb_fragment_key, struct lb_fragment);
LB_MAP(lb_vlans, HASH, 0, 4096, struct lb_vlan_key, struct lb_vlan);
LB_MAP(lb_vlan_ways, HASH, 0, 4096, __u32, struct lb_vlan_way);
LB_MAP(lb_settings, ARRAY, 0, 1, __u32, struct lb_settings);
LB_MAP(lb_stats, PERCPU_ARRAY, 0, LB_REASON_MAX, __u32, __u64);

static __always_inline void count(enum lb_reason reason)
{
	__u32 key = reason;
	__u64 *packets = bpf_map_lookup_elem(&lb_stats, &key);

	if (packets)
		*packets += 1; /* per CPU, and XDP and tc do not interrupt each other there */
}

/* The VIP entry of an address that is ours, else NULL. Copied, because a key has to be on the stack: what a function was
 * given as an argument is memory of another kind for kernels before 6.7. */
static __always_inline const struct lb_vip *find_vip(const struct lb_address *address)
{
	struct lb_address key = *address;

	return bpf_map_lookup_elem(&lb_vips, &key);
}

static __always_inline __u32 coarse_now(void)
{
	return bpf_ktime_get_coarse_ns() >> LB_CLOCK_SHIFT;
}

#endif
