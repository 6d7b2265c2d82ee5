/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * Fragments: the first one of a packet carries the ports, and the later ones are taken to belong to the same flow.
 *
 * The table is bounded and makes room by itself. A later fragment that comes before the first one, or after the first one's
 * entry was pushed out, finds none.
 */
#ifndef LB_FRAGMENT_H
#define LB_FRAGMENT_H

#include "lb_maps.h"
#include "lb_packet.h"

static __always_inline void fragment_key(struct lb_fragment_key *key, const struct packet *p)
{
	__builtin_memset(key, 0, sizeof(*key));
	key->source = p->source;
	key->dest = p->dest;
	key->id_be = p->fragment_id;
	key->protocol = p->protocol;
}

/* Remembers the ports of a first fragment. */
__attribute__((noinline)) int lb_remember_fragment(const struct packet *p)
{
	struct lb_fragment_key key;
	struct lb_fragment entry;

	if (!p)
		return false;
	entry.source_be = p->ports.source;
	entry.dest_be = p->ports.dest;
	fragment_key(&key, p);
	return !bpf_map_update_elem(&lb_fragments, &key, &entry, BPF_ANY);
}

/* Gives a later fragment the ports of the first one. */
__attribute__((noinline)) int lb_recall_fragment(struct packet *p)
{
	struct lb_fragment_key key;
	struct lb_fragment *entry;

	if (!p)
		return false;
	fragment_key(&key, p);
	entry = bpf_map_lookup_elem(&lb_fragments, &key);
	if (!entry)
		return false;
	p->ports.source = entry->source_be;
	p->ports.dest = entry->dest_be;
	return true;
}

#endif
