/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * Which backend a flow belongs to. Every node must come to the same answer, so nothing here is random or per boot.
 *
 * A slot of the row is steady when every live flow in it belongs to its owner: then one look is all, for old flows and new
 * ones. A slot whose owner changed is in transition until the flows of the earlier owner have ended (user space finds that
 * out, datapath/transition.py); only there flows are remembered:
 *
 *   found, and its backend still has the entry's generation    the entry's backend
 *   TCP SYN, not found                                         the owner
 *   anything else, not found                                   the previous owner
 *
 * With client affinity the entry is the client's, a SYN is a packet like any other, and only a backend that terminates
 * gets none.
 */
#ifndef LB_FLOW_H
#define LB_FLOW_H

#include "lb_maps.h"
#include "lb_packet.h"
#include "lb_rendezvous.h"

static __always_inline __u64 address_half(const struct lb_address *address, int half)
{
	return ((__u64)bpf_ntohl(address->word_be[2 * half]) << 32) | bpf_ntohl(address->word_be[2 * half + 1]);
}

/* 128 bits to 64; an odd factor loses nothing of either half. */
static __always_inline __u64 address_word(const struct lb_address *address)
{
	return address_half(address, 1) + address_half(address, 0) * 0xff51afd7ed558ccdULL;
}

/*
 * Hash of the 5-tuple, 32 bits. Two words folded by multiplications with the constants of splitmix64, as datapath/flow.py
 * does. In host order of the numbers (not of the bytes), so that machines of either endianness agree.
 */
static __always_inline __u32 flow_hash(const struct packet *p, bool affinity)
{
	__u64 source_port = affinity ? 0 : bpf_ntohs(p->ports.source);
	__u64 service = ((__u32)bpf_ntohs(p->ports.dest) << 8) | p->protocol;
	__u64 near, far, hash;

	if (p->family == AF_INET) {
		near = ((__u64)bpf_ntohl(p->dest.word_be[3]) << 32) | service;
		far = ((__u64)bpf_ntohl(p->source.word_be[3]) << 32) | source_port;
	} else {
		near = address_word(&p->dest) + service;
		far = address_word(&p->source) * 0xc4ceb9fe1a85ec53ULL + source_port;
	}
	hash = far + near * 0x9e3779b97f4a7c15ULL;
	hash = (hash ^ (hash >> 30)) * 0xbf58476d1ce4e5b9ULL;
	hash = (hash ^ (hash >> 27)) * 0x94d049bb133111ebULL;
	return hash >> 32;
}

/* 16 bits at an index that counts from the first page; LB_NOBODY outside of the map. */
static __always_inline __u16 row_half(__u32 index)
{
	__u32 number = index / (2 * LB_PAGE_WORDS);
	const struct lb_row_page *page = bpf_map_lookup_elem(&lb_rows, &number);

	return page ? page->halves[index % (2 * LB_PAGE_WORDS)] : LB_NOBODY;
}

/* The same for 8 bits, widened: nobody is a position that no member has either way. */
static __always_inline __u16 row_byte(__u32 index)
{
	__u32 number = index / (4 * LB_PAGE_WORDS);
	const struct lb_row_page *page = bpf_map_lookup_elem(&lb_rows, &number);
	__u16 slot = page ? page->bytes[index % (4 * LB_PAGE_WORDS)] : LB_NOBODY & 0x7f;

	return (slot & ~LB_NARROW_TRANSITION) | (slot & LB_NARROW_TRANSITION) << 8;
}

/* A slot, or a previous owner: they stand behind one another. */
static __always_inline __u16 row_slot(const struct lb_frontend *frontend, __u32 number)
{
	__u32 row = frontend->block + frontend->members;

	return frontend->members <= LB_NARROW_MEMBERS ? row_byte(4 * row + number) : row_half(2 * row + number);
}

/* The backend id of a member, 0 for none. */
static __always_inline __u32 member(const struct lb_frontend *frontend, __u32 position)
{
	__u32 index = frontend->block + position, number = index / LB_PAGE_WORDS;
	const struct lb_row_page *page;

	if (position >= frontend->members)
		return 0;
	page = bpf_map_lookup_elem(&lb_rows, &number);
	return page ? page->words[index % LB_PAGE_WORDS] : 0;
}

/* A slot in transition: who owns it, who did before, and the flow that asks. */
struct question {
	__u32 owner;    /* id, 0: nobody */
	__u32 previous; /* id, 0: nobody */
	__u32 hash;
	bool learn;     /* false: leave no entry */
	bool affinity;
	bool leaving;   /* the previous owner takes no new connections */
};

static __always_inline void flow_key(struct lb_flow_key *key, const struct packet *p)
{
	__builtin_memset(key, 0, sizeof(*key));
	key->client = p->source;
	key->vip = p->dest;
	key->client_port_be = p->ports.source;
	key->port_be = p->ports.dest;
	key->protocol = p->protocol;
}

/* The id in the entry if it still means the backend that it meant, else 0. */
static __always_inline __u32 still_there(struct lb_flow *flow)
{
	const struct lb_backend *backend = bpf_map_lookup_elem(&lb_backends, &flow->backend);

	return backend && backend->generation == flow->generation ? flow->backend : 0;
}

/*
 * The table above. A flow's first entry is on probation in lb_flows_new, and moves with its second packet; only a TCP SYN
 * is not taken for one. So a flood of SYNs evicts nothing but what is on probation too.
 */
__attribute__((noinline)) __u32 lb_transition(const struct packet *p, const struct question *question)
{
	const struct lb_backend *backend;
	struct lb_flow_key key;
	struct lb_flow *found, entry;
	bool opens, moves;
	__u32 id;

	if (!p || !question)
		return 0;
	opens = p->protocol == IPPROTO_TCP && (p->tcp & (TCP_SYN | TCP_ACK)) == TCP_SYN;
	moves = opens && (!question->affinity || question->leaving);
	flow_key(&key, p);
	if (question->affinity)
		key.client_port_be = 0;
	entry.hash = question->hash;
	entry.seen = coarse_now();

	found = bpf_map_lookup_elem(&lb_flows, &key);
	if (found) {
		id = still_there(found);
		if (id && !(moves && question->affinity && id == question->previous)) {
			if (question->learn && found->seen != entry.seen)
				found->seen = entry.seen;
			return id;
		}
	}
	found = bpf_map_lookup_elem(&lb_flows_new, &key);
	if (found) {
		id = still_there(found);
		if (id && !(moves && question->affinity && id == question->previous)) {
			if (question->learn && !opens) {
				entry.backend = id;
				entry.generation = found->generation;
				bpf_map_update_elem(&lb_flows, &key, &entry, BPF_ANY);
				bpf_map_delete_elem(&lb_flows_new, &key);
			}
			return id;
		}
	}
	id = moves || !question->previous ? question->owner : question->previous;
	backend = bpf_map_lookup_elem(&lb_backends, &id);
	if (id && backend && question->learn) {
		entry.backend = id;
		entry.generation = backend->generation;
		if (moves)
			bpf_map_delete_elem(&lb_flows, &key); /* of an earlier connection or choice */
		bpf_map_update_elem(&lb_flows_new, &key, &entry, BPF_ANY);
	}
	return id;
}

/* The backend id of a flow, 0 if there is nobody to take it. `learn` false: a packet that may leave no trace. */
static __always_inline __u32 choose(const struct lb_frontend *frontend, struct packet *p, bool learn)
{
	__u32 hash = p->hash = flow_hash(p, frontend->flags & LB_FRONTEND_AFFINITY);
	struct question question = {
		.hash = hash,
		.learn = learn,
		.affinity = frontend->flags & LB_FRONTEND_AFFINITY,
	};
	__u16 slot, previous;

	if (frontend->flags & LB_FRONTEND_RENDEZVOUS)
		return dearest(frontend, hash);
	slot = row_slot(frontend, ((__u64)hash << frontend->bits) >> 32);
	if (!(slot & LB_SLOT_TRANSITION))
		return member(frontend, slot);
	previous = row_slot(frontend, (1u << (frontend->bits & 31)) +
					      (__u32)(((__u64)hash << frontend->previous_bits) >> 32));
	question.owner = member(frontend, slot & ~LB_SLOT_TRANSITION);
	question.previous = member(frontend, previous);
	question.leaving = previous >= frontend->serving;
	return lb_transition(p, &question);
}

#endif
