/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * The maps. The loader sets max_entries to the operator's limits and pins every map by its name.
 *
 * lb_rows and lb_backends are mapped into user space, which fills them in place: a row is written where no frontend
 * points yet, and becomes visible by one update of lb_frontends.
 */
#ifndef LB_MAPS_H
#define LB_MAPS_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "lb_abi.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, struct lb_frontend_key);
	__type(value, struct lb_row);
} lb_frontends SEC(".maps");

/* Addresses that are ours, whatever the port: value is unused. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, __u32);
} lb_vips SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct lb_row_page);
} lb_rows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 262144);
	__type(key, __u32);
	__type(value, struct lb_backend);
} lb_backends SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, struct lb_decap_key);
	__type(value, struct lb_decap);
} lb_decaps SEC(".maps");

/* See struct lb_guard_key; value is unused. Empty unless an aggregate is announced, and then a lookup costs next to nothing. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4096);
	__type(key, struct lb_guard_key);
	__type(value, __u32);
} lb_guards SEC(".maps");

/* Written by the ingress program, read by the egress program. Least recently used entries make room for new ones. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 262144);
	__type(key, struct lb_reply_key);
	__type(value, struct lb_reply);
} lb_replies SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, LB_REASON_MAX);
	__type(key, __u32);
	__type(value, __u64);
} lb_stats SEC(".maps");

static __always_inline void count(enum lb_reason reason)
{
	__u32 key = reason;
	__u64 *packets = bpf_map_lookup_elem(&lb_stats, &key);

	if (packets)
		*packets += 1; /* per CPU, and XDP and tc do not interrupt each other there */
}

#endif
