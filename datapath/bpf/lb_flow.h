/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Which backend a flow belongs to. Every node must come to the same answer, so nothing here is random or per boot. */
#ifndef LB_FLOW_H
#define LB_FLOW_H

#include "lb_maps.h"
#include "lb_parse.h"

/*
 * Hash of the 5-tuple, 32 bits. Two words folded by multiplications with the constants of splitmix64, as datapath/flow.py
 * does. In host order of the numbers (not of the bytes), so that machines of either endianness agree.
 */
static __always_inline __u32 flow_hash(__be32 source, __be32 dest, const struct ports *ports, __u8 protocol)
{
	__u64 near = ((__u64)bpf_ntohl(dest) << 32) | ((__u32)bpf_ntohs(ports->dest) << 8) | protocol;
	__u64 far = ((__u64)bpf_ntohl(source) << 32) | bpf_ntohs(ports->source);
	__u64 hash = far + near * 0x9e3779b97f4a7c15ULL;

	hash = (hash ^ (hash >> 30)) * 0xbf58476d1ce4e5b9ULL;
	hash = (hash ^ (hash >> 27)) * 0x94d049bb133111ebULL;
	return hash >> 32;
}

/* The backend id in the slot of this hash; 0 if the row leads nowhere. Multiply-shift instead of modulo: as even, and
 * cheaper. */
static __always_inline __u32 choose(const struct lb_row *row, __u32 hash)
{
	__u32 index = row->offset + (__u32)(((__u64)hash * row->length) >> 32);
	__u32 number = index / LB_PAGE_SLOTS;
	struct lb_row_page *page = bpf_map_lookup_elem(&lb_rows, &number);

	return page ? page->slots[index % LB_PAGE_SLOTS] : 0;
}

#endif
