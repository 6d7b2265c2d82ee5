// SPDX-License-Identifier: Apache-2.0
/*
 * The loops over the slots of rows, which take hundreds of microseconds here and tens of milliseconds in Python: see
 * datapath/native.py for what they are given, and maglev.py, rendezvous.py and rows.py for what they mean.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lb_abi.h"
#include "lb_sum.h"

/*
 * How far an owner has come on its walk. Bit i of `free`: the slot i steps behind `at` was free when it was looked at, and the
 * owner has not taken it.
 */
struct walk {
	uint32_t at, free;
};

enum { LOOK = 32 };

/*
 * Many slots at a time, without a branch: whether one is free cannot be foreseen, and to have guessed wrongly costs more than
 * to look at ten others.
 */
static uint32_t look_ahead(const uint8_t *room, uint32_t at, uint32_t skip, uint32_t mask)
{
	uint32_t free = 0;

	at += LOOK * skip;
	for (int i = 0; i < LOOK; i++) {
		at -= skip;
		free = 2 * free + room[at & mask];
	}
	return free;
}

/* The next slot that is free. There has to be one. */
static uint32_t next_slot(struct walk *walk, const uint8_t *room, uint32_t skip, uint32_t mask)
{
	uint32_t at = walk->at, free = walk->free, slot;

	do {
		while (!free) {
			at += LOOK * skip;
			free = look_ahead(room, at, skip, mask);
		}
		slot = (at + skip * __builtin_ctz(free)) & mask;
		free &= free - 1;
	} while (!room[slot]); /* another owner has taken it since */
	walk->at = at;
	walk->free = free;
	return slot;
}

/*
 * Eisenbud et al., Maglev (NSDI 2016), section 3.4: the owners take turns, and each takes the next slot of its walk that is
 * free. `start` and `skip` below 1 << bits, skip odd. Returns -1 without memory.
 */
int lr_maglev(const uint32_t *start, const uint32_t *skip, uint32_t owners, uint32_t bits, uint16_t *slots)
{
	uint32_t mask = (1u << bits) - 1, left = mask + 1;
	struct walk *walks = malloc(owners * sizeof(*walks));
	uint8_t *room = malloc(left); /* 1: free; half as large as the row, since most of the time goes into looking at it */
	int made = walks && room;

	if (made)
		memset(room, 1, left);
	for (uint32_t owner = 0; made && owner < owners; owner++)
		walks[owner] = (struct walk){ start[owner] - LOOK * skip[owner], 0 };
	while (made && left) {
		for (uint32_t owner = 0; owner < owners && left; owner++, left--) {
			uint32_t slot = next_slot(&walks[owner], room, skip[owner], mask);

			room[slot] = 0;
			slots[slot] = owner;
		}
	}
	free(walks);
	free(room);
	return made ? 0 : -1;
}

/*
 * Each owner puts the slots into an order: ranks[start], ranks[start + skip], and so on. A slot belongs to the owner with the
 * highest rank there, and to the first of those that have the same. Ranks and owners below 1 << 16.
 */
int lr_rendezvous(const uint32_t *start, const uint32_t *skip, uint32_t owners, uint32_t bits, const uint32_t *ranks,
		  uint16_t *slots)
{
	uint32_t mask = (1u << bits) - 1;

	for (uint32_t slot = 0; slot <= mask; slot++) {
		uint32_t best = 0;

		for (uint32_t owner = 0; owner < owners; owner++) {
			/* The rank, and behind it who is first: so that the higher one is found without a branch. */
			uint32_t claim = ranks[(start[owner] + slot * skip[owner]) & mask] << 16 | (UINT16_MAX - owner);

			best = claim > best ? claim : best;
		}
		slots[slot] = UINT16_MAX - (best & UINT16_MAX);
	}
	return 0;
}

/* The position of the member to whom the slot is dearest, as lb_dearest() finds it. */
static uint32_t dearest(const uint32_t *preferences, uint32_t members, const uint16_t *ranks, uint32_t slot)
{
	uint32_t best = 0;

	for (uint32_t i = 0; i < members; i++) {
		uint32_t place = preferences[i] + slot * (preferences[i] >> LB_RENDEZVOUS_BITS);
		uint32_t claim = ranks[place % (1 << LB_RENDEZVOUS_BITS)] << 8 | preferences[i] >> 24;

		best = claim > best ? claim : best;
	}
	return best % LB_RENDEZVOUS_MEMBERS;
}

/* The end of flow_hash() of lb_flow.h, from where the client's port comes in. */
static uint32_t flow_hash(uint64_t sum)
{
	sum = (sum ^ (sum >> 30)) * 0xbf58476d1ce4e5b9ULL;
	sum = (sum ^ (sum >> 27)) * 0x94d049bb133111ebULL;
	return sum >> 32;
}

/* Who owns each of the slots, of which none is in transition: it is written down, or (`slots` NULL) follows. */
struct lr_owners {
	const uint16_t *slots;
	const uint32_t *preferences;
	const uint16_t *ranks;
	uint32_t bits, members;
};

/*
 * For each of the first `wanted` members the first client port, of `count` from `first` on, from which a flow falls into a slot
 * that it owns; 0 for none. `base`: what all else of the flow adds to its hash.
 */
void lr_aim(const struct lr_owners *of, uint64_t base, uint32_t first, uint32_t count, uint32_t wanted, uint16_t *ports)
{
	uint32_t missing = wanted;

	memset(ports, 0, wanted * sizeof(*ports));
	for (uint32_t port = first; port < first + count && missing; port++) {
		uint32_t slot = (uint64_t)flow_hash(base + port) << of->bits >> 32;
		uint32_t owner = of->slots ? of->slots[slot] : dearest(of->preferences, of->members, of->ranks, slot);

		if (owner < wanted && !ports[owner]) {
			ports[owner] = port;
			missing--;
		}
	}
}

/* The same row with other names of the owners. */
void lr_rename(const uint16_t *from, uint32_t count, const uint16_t *names, uint16_t *to)
{
	for (uint32_t i = 0; i < count; i++)
		to[i] = names[from[i]];
}

/* A row in transition, or not (`previous_bits` 0). */
struct lr_row {
	const uint16_t *slots;
	const uint16_t *previous;
	uint32_t bits;
	uint32_t previous_bits;
};

static uint16_t moved_to(const uint16_t *moved, uint32_t members, uint16_t position)
{
	return position < members ? moved[position] : LB_NOBODY;
}

/*
 * `slots` holds the owners to come, and gets the flag of those in transition; `previous`, of `fine` bits, who owned them.
 * `moved`: where each of the old row's members is now. Returns how many of the fine slots are in transition.
 */
int lr_follow(const struct lr_row *old, const uint16_t *moved, uint32_t members, uint16_t *slots, uint32_t bits,
	      uint16_t *previous, uint32_t fine_bits)
{
	int transitions = 0;

	for (uint32_t fine = 0; fine < 1u << fine_bits; fine++) {
		uint16_t slot = old->slots[fine >> (fine_bits - old->bits)], *now = &slots[fine >> (fine_bits - bits)];
		uint16_t before = moved_to(moved, members, slot & LB_NOBODY);

		previous[fine] = LB_NOBODY;
		if (slot & LB_SLOT_TRANSITION && old->previous_bits) {
			uint16_t older = moved_to(moved, members, old->previous[fine >> (fine_bits - old->previous_bits)]);

			previous[fine] = older != LB_NOBODY ? older : before;
		} else if (before != (*now & LB_NOBODY) && before != LB_NOBODY) {
			previous[fine] = before;
		} else {
			continue;
		}
		*now |= LB_SLOT_TRANSITION;
		transitions++;
	}
	return transitions;
}

/*
 * Takes the flag off the slots that nobody needs in transition any more. `busy`: slots of `old` with a live flow of another
 * than their owner. `wait`: flows that were not seen may live too, so previous owners other than the owner are waited for.
 */
void lr_settle(const struct lr_row *old, const uint8_t *busy, int wait, uint16_t *slots)
{
	uint32_t shift = old->previous_bits - old->bits;

	for (uint32_t i = 0; i < 1u << old->bits; i++) {
		uint16_t owner = old->slots[i] & LB_NOBODY;
		int needed = busy[i];

		for (uint32_t fine = i << shift; wait && !needed && fine < (i + 1) << shift; fine++)
			needed = old->previous[fine] != LB_NOBODY && old->previous[fine] != owner;
		slots[i] = needed ? old->slots[i] : owner;
	}
}

/* 16 bits to 8, and back: LB_NARROW_MEMBERS. */
void lr_narrow(const uint16_t *from, uint32_t count, uint8_t *to)
{
	for (uint32_t i = 0; i < count; i++)
		to[i] = (from[i] & (LB_NARROW_TRANSITION - 1)) | (from[i] & LB_SLOT_TRANSITION) >> 8;
}

void lr_widen(const uint8_t *from, uint32_t count, uint16_t *to)
{
	for (uint32_t i = 0; i < count; i++) {
		uint16_t position = from[i] & (LB_NARROW_TRANSITION - 1);

		to[i] = (position == LB_NARROW_TRANSITION - 1 ? LB_NOBODY : position) |
			(from[i] & LB_NARROW_TRANSITION) << 8;
	}
}

/*
 * Let the entries of these ids be right in all that is user space's, but for their generation. `entries`: those parts of them,
 * one behind the other.
 */
void lr_put_backends(struct lb_backend *backends, const uint32_t *numbers, uint32_t count, const uint8_t *entries)
{
	const size_t ours = offsetof(struct lb_backend, stamp);

	for (uint32_t i = 0; i < count; i++) {
		struct lb_backend *now = &backends[numbers[i]], wanted;

		memcpy(&wanted, entries + i * ours, ours);
		wanted.generation = now->generation;
		if (!memcmp(now, &wanted, ours))
			continue;
		memcpy(now, &wanted, ours);
		/* Only now: a packet may have the program look for the next hop again at any moment. */
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		memset((uint8_t *)now + ours, 0, sizeof(*now) - ours); /* the next hop was that of another way */
	}
}

/* Do all slots have these owners, whatever their flags? */
int lr_same_owners(const uint16_t *slots, const uint16_t *owners, uint32_t count)
{
	uint16_t differ = 0;

	for (uint32_t i = 0; i < count; i++)
		differ |= (slots[i] ^ owners[i]) & LB_NOBODY;
	return !differ;
}

/* --- sums --------------------------------------------------------------------------------------------------------- */

/* The sum of `count` entries, of which keys and values (sizes in bytes) stand one behind the other. */
uint64_t lr_sum(const uint32_t *keys, uint32_t key_size, const uint32_t *values, uint32_t value_size, uint32_t count)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < count; i++, keys += key_size / 4, values += value_size / 4)
		sum += lb_entry_mixed(keys, key_size, values, value_size);
	return sum;
}

static inline uint64_t word_at(const void *data, size_t i)
{
	uint64_t word;

	memcpy(&word, (const uint8_t *)data + i * sizeof(word), sizeof(word));
	return word;
}

static inline uint64_t mixed(uint64_t sum, const void *data, size_t words)
{
	for (size_t i = 0; i < words; i++)
		sum = lb_mixed(sum, word_at(data, i));
	return sum;
}

/* Of many words: in four lanes side by side, since each step waits for the one before. */
static uint64_t mixed_long(uint64_t sum, const void *data, size_t words)
{
	uint64_t a = sum, b = sum, c = sum, d = sum;
	size_t i = 0;

	for (; i + 4 <= words; i += 4) {
		a = lb_mixed(a, word_at(data, i));
		b = lb_mixed(b, word_at(data, i + 1));
		c = lb_mixed(c, word_at(data, i + 2));
		d = lb_mixed(d, word_at(data, i + 3));
	}
	for (; i < words; i++)
		a = lb_mixed(a, word_at(data, i));
	return lb_mixed(lb_mixed(lb_mixed(a, b), c), d);
}

/* The block's members, in the order of their turns. */
static void put_members(struct lb_shortcut *line, const uint32_t *block, uint32_t members)
{
	uint32_t least = block[0], most = block[0];
	bool near;

	for (uint32_t i = 1; i < members; i++) {
		least = block[i] < least ? block[i] : least;
		most = block[i] > most ? block[i] : most;
	}
	near = most - least <= LB_SHORTCUT_NEAR;
	if (near) {
		line->first = least;
		line->flags |= LB_FRONTEND_NEAR;
	}
	for (uint32_t i = 0; i < members; i++) {
		uint32_t preference = block[members + i], turn = 0, number = near ? block[i] - least : i;

		for (uint32_t other = 0; other < members; other++)
			turn += block[members + other] >> 28 > preference >> 28;
		line->whose[turn / 2] |= number << 4 * (turn % 2);
		for (uint32_t byte = 0; byte < 3; byte++)
			line->preferences[3 * turn + byte] = preference >> 8 * byte;
	}
}

/* The line says it, when everything else of it is written. `rows`: where the block is, of `length`. */
void lr_shortcut_put(struct lb_shortcut *line, const struct lb_frontend_key *key, const struct lb_frontend *frontend,
		     const uint32_t *rows, uint32_t length)
{
	struct lb_shortcut said = { .protocol = key->protocol, .port_be = key->port_be, .vip = key->vip };
	uint32_t words = 2 * frontend->members;

	if (frontend->flags & LB_FRONTEND_RENDEZVOUS && words && frontend->members <= LB_SHORTCUT_MEMBERS &&
	    !frontend->sources && words <= length && frontend->block <= length - words) {
		said.members = frontend->members;
		said.flags = frontend->flags | LB_FRONTEND_HERE;
		said.first = frontend->block;
		put_members(&said, rows + frontend->block, frontend->members);
	} else {
		said.frontend = *frontend;
	}
	memcpy((char *)line + sizeof(said.word), (char *)&said + sizeof(said.word), sizeof(said) - sizeof(said.word));
	said.at = LB_SHORTCUT_AT;
	__atomic_store_n(&line->word, said.word, __ATOMIC_RELEASE);
}

/* These lines say nothing any more. What stands in them stays, for programs that are just reading it. */
void lr_shortcuts_clear(struct lb_shortcut *lines, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		if (lines[i].word)
			__atomic_store_n(&lines[i].word, 0, __ATOMIC_SEQ_CST);
}

/* A sum over those of these lines that say something; `first`: the number of the first one. */
uint64_t lr_shortcuts_sum(const struct lb_shortcut *lines, uint32_t first, uint32_t count)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < count; i++)
		if (lines[i].word)
			sum += mixed_long(lb_mixed(LB_SUM_START, first + i), &lines[i], sizeof(lines[i]) / sizeof(sum));
	return sum;
}

/* Maps as user space has them in its memory. */
struct lr_digested {
	const uint32_t *rows;
	const struct lb_backend *backends;
	const struct lb_address *nodes;
	uint32_t backend_count;
};

/* A block that is watched: where it stands, in units of 4 bytes, how many members it has, and its digest when it was read. */
struct lr_watched {
	uint32_t block, length, members, reserved;
	uint64_t digest;
};

/* A sum over the block and what user space wrote of the backends that it names. */
uint64_t lr_digest(const struct lr_digested *of, const struct lr_watched *block)
{
	const uint32_t *words = of->rows + block->block;
	uint64_t sum = mixed_long(LB_SUM_START, words, block->length / 2);

	if (block->length % 2)
		sum = lb_mixed(sum, words[block->length - 1]);
	for (uint32_t i = 0; i < block->members; i++) {
		uint64_t member = LB_SUM_START;
		uint32_t id = words[i];

		if (id >= of->backend_count)
			continue;
		member = mixed(member, &of->backends[id], offsetof(struct lb_backend, stamp) / sizeof(member));
		if (of->backends[id].flags & LB_BACKEND_GENEVE)
			member = mixed(member, &of->nodes[id], sizeof(*of->nodes) / sizeof(member));
		sum = lb_mixed(sum, member); /* each is mixed by itself: so they need not wait for each other */
	}
	return sum;
}

/* Soon it will be looked at: most of the time goes into waiting for memory. */
static void expect(const struct lr_digested *of, const struct lr_watched *block)
{
	for (uint32_t i = 0; i < block->members && i < 64; i++)
		__builtin_prefetch(&of->backends[of->rows[block->block + i] % of->backend_count]);
}

/*
 * Which of `count` blocks have another digest now. Begins at the one of index `at`, and stops behind the last, or when it has
 * found `room` of them or looked at `bytes`; the index at which it stopped is left in `at`. Returns how many it has found.
 */
uint32_t lr_differing(const struct lr_digested *of, const struct lr_watched *blocks, uint32_t count, uint32_t *at,
		      uint64_t bytes, uint32_t *found, uint32_t room)
{
	uint64_t seen = 0;
	uint32_t n = 0;

	for (; *at < count && n < room && seen < bytes; ++*at) {
		const struct lr_watched *block = &blocks[*at];

		if (*at + 1 < count)
			expect(of, block + 1);
		if (block->members && lr_digest(of, block) != block->digest)
			found[n++] = *at;
		seen += 4 * block->length + block->members * sizeof(*of->backends);
	}
	return n;
}
