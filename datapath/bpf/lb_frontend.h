/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * The frontend of a packet. A look into a hash map of the kernel is four calls and a slow hash, and reads three cache lines
 * from all over memory; where user space has left a shortcut it is none, and one read (datapath/shortcuts.py).
 */
#ifndef LB_FRONTEND_H
#define LB_FRONTEND_H

#include "lb_maps.h"
#include "lb_packet.h"

/* datapath/shortcuts.py says the same. */
static __always_inline __u32 shortcut_place(const struct lb_frontend_key *key)
{
	const __be32 *words = key->vip.word_be;
	__u64 high = (__u64)words[0] << 32 | words[1], low = (__u64)words[3] << 32 | words[2];
	__u32 port = key->port_be | (__u32)key->protocol << 16;

	return ((low + port + high * LB_SIEVE_FOLD) * LB_SIEVE_FACTOR) >> (64 - LB_SHORTCUT_BITS);
}

/* `number`: of the line, if it is this frontend's. */
static __always_inline const struct lb_frontend *find_shortcut(const struct lb_frontend_key *key, __u32 *number)
{
	__u32 place = shortcut_place(key), at;
	const struct lb_shortcut *line = bpf_map_lookup_elem(&lb_shortcuts, &place);
	const struct {
		struct lb_frontend_key key;
		struct lb_frontend frontend;
	} *rest;

	if (!line)
		return NULL;
	at = line->at;
	if (!at)
		return NULL;
	/* In assembler, because the compiler would see that only one offset is left, and use that instead. */
	asm volatile("%0 &= %1" : "+r"(at) : "i"(LB_SHORTCUT_AT));
	rest = (const void *)line + at;
	if (!same_address(&rest->key.vip, &key->vip) || rest->key.port_be != key->port_be || rest->key.protocol != key->protocol)
		return NULL;
	/* Itself, but known no sooner than `at`: the block is not read before that either. */
	*number = place + at - LB_SHORTCUT_AT;
	return &rest->frontend;
}

static __always_inline bool find_frontend(const struct lb_address *vip, __be16 port, __u8 protocol, struct lb_frontend *copy)
{
	struct lb_frontend_key key = { .vip = *vip, .port_be = port, .protocol = protocol };
	__u32 number = 0;
	const struct lb_frontend *found = find_shortcut(&key, &number);

	if (!found)
		found = bpf_map_lookup_elem(&lb_frontends, &key);
	if (!found)
		return false;
	*copy = *found;
	if (copy->flags & LB_FRONTEND_HERE)
		copy->block = number;
	return true;
}

#endif
