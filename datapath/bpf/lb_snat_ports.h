/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * Ports of this node for flows to remote backends: which flow has which, and until when.
 *
 * A port belongs to whoever inserts its entry (BPF_NOEXIST), so no two flows ever share one towards the same backend. One
 * whose flow is over is taken by a compare-and-swap of `seen`: of several that want it, one gets it. The same swap lets the
 * sweep and new flows work at the same time.
 *
 * How long a flow lives without packets, in units of coarse time (about a second): RFC 5382 section 5 and RFC 4787 section 4.3
 * want two hours and four minutes for an established connection, four minutes for one that is closing, and two minutes for
 * datagrams. Where nearly all ports are taken, what has ended or never began gives way sooner; nothing else ever does.
 */
#ifndef LB_SNAT_PORTS_H
#define LB_SNAT_PORTS_H

#include "lb_encap.h"
#include "lb_maps.h"
#include "lb_nat.h"
#include "lb_packet.h"

#define SNAT_TRIES 24
#define SNAT_PRESSED (SNAT_TRIES / 2) /* from this try on, ports are scarce */

#define SNAT_LIFE_TCP 8000
#define SNAT_LIFE_OTHER 300     /* SCTP too: its heartbeats come every 30 s (RFC 9260 section 16) */
#define SNAT_LIFE_CLOSING 240   /* one side has ended */
#define SNAT_LIFE_NEW 30        /* unanswered; or a question and an answer */
#define SNAT_LIFE_NEW_PRESSED 5
#define SNAT_LIFE_CLOSED 60     /* the backend may hold the connection in TIME-WAIT for so long */
#define SNAT_LIFE_CLOSED_PRESSED 2

/* For what the stack has no room: a new flow that looks for a port, with its two entries in the making; and from where to
 * where a packet goes, by which way. Each CPU is done with it before the next packet comes. */
struct snat_work {
	struct lb_flow_key flow;
	struct lb_snat_flow mine;
	struct lb_snat_port port;
	struct target from;
	struct target to;
	struct lb_hop hop;
};
LB_MAP(lb_snat_work, PERCPU_ARRAY, 0, 1, __u32, struct snat_work);

static __always_inline struct snat_work *snat_work(void)
{
	__u32 first = 0;

	return bpf_map_lookup_elem(&lb_snat_work, &first);
}

static __always_inline bool same_snat_key(const struct lb_snat_key *one, const struct lb_snat_key *other)
{
	return same_address(&one->backend, &other->backend) && same_address(&one->node, &other->node) &&
	       one->backend_port_be == other->backend_port_be && one->node_port_be == other->node_port_be &&
	       one->protocol == other->protocol;
}

/* Has it ended on both sides, or was it broken off? `mine`: seen from the client. */
static __always_inline bool snat_closed(__u8 mine, __u8 answers)
{
	return (mine | answers) & LB_SNAT_RST || mine & answers & LB_SNAT_FIN;
}

static __always_inline __u32 snat_life(__u8 protocol, __u8 mine, __u8 answers, bool pressed)
{
	if (snat_closed(mine, answers))
		return pressed ? SNAT_LIFE_CLOSED_PRESSED : SNAT_LIFE_CLOSED;
	if (!(answers & LB_SNAT_ESTABLISHED))
		return pressed ? SNAT_LIFE_NEW_PRESSED : SNAT_LIFE_NEW;
	if ((mine | answers) & LB_SNAT_FIN)
		return SNAT_LIFE_CLOSING;
	return protocol == IPPROTO_TCP ? SNAT_LIFE_TCP : SNAT_LIFE_OTHER;
}

/* The flow that has the port `key`; NULL if that has another port by now, or is gone. */
static __always_inline struct lb_snat_flow *snat_owner(const struct lb_snat_key *key, const struct lb_snat_port *port)
{
	struct lb_snat_flow *flow = bpf_map_lookup_elem(&lb_snat_flows, &port->flow);

	return flow && same_snat_key(&flow->to, key) ? flow : NULL;
}

/* Ends the flow of a port if it is over. True: the port's entry is the caller's now, to replace or to delete. */
static __always_inline bool snat_end(const struct lb_snat_key *key, struct lb_snat_port *port, bool pressed, __u32 now)
{
	__u32 seen = port->seen, last = seen, life = SNAT_LIFE_NEW_PRESSED;
	struct lb_snat_flow *flow = snat_owner(key, port);

	if (flow) {
		life = snat_life(key->protocol, flow->state, port->state, pressed);
		if ((__s32)(flow->seen - last) > 0)
			last = flow->seen;
	}
	if ((__s32)(now - last) <= (__s32)life || __sync_val_compare_and_swap(&port->seen, seen, now) != seen)
		return false;
	if (flow)
		bpf_map_delete_elem(&lb_snat_flows, &port->flow);
	return true;
}

/* The port that the flow in snat_work() has its eyes on becomes its own, if the flow that has it is over. */
__attribute__((noinline)) int lb_snat_claim(bool pressed)
{
	struct snat_work *work = snat_work();
	struct lb_snat_port *taken;

	if (!work)
		return false;
	taken = bpf_map_lookup_elem(&lb_snat_ports, &work->mine.to);
	return taken && snat_end(&work->mine.to, taken, pressed, coarse_now()) &&
	       !bpf_map_update_elem(&lb_snat_ports, &work->mine.to, &work->port, BPF_EXIST);
}

/* A port for the flow in snat_work(), of `count` from `first` on. The first try is at random, and so is the stride; where there
 * are no more ports than tries, all are tried. */
__attribute__((noinline)) int lb_snat_take(__u32 first, __u32 count)
{
	struct snat_work *work = snat_work();
	__u32 random = bpf_get_prandom_u32(), at, stride;

	if (!work || !count || count > 65535)
		return false;
	at = (random & 0xffff) % count;
	stride = count > SNAT_TRIES ? 1 + (random >> 16) % (count - 1) : 1;
	for (int try = 0; try < SNAT_TRIES; try++) {
		work->mine.to.node_port_be = bpf_htons(first + at);
		if (!bpf_map_update_elem(&lb_snat_ports, &work->mine.to, &work->port, BPF_NOEXIST) ||
		    lb_snat_claim(try >= SNAT_PRESSED))
			return true;
		at = (at + stride) % count;
	}
	return false;
}

/* --- the sweep: user space runs it now and then, so that ports that nobody asks for do not fill the tables --------- */

struct bpf_map;

static long snat_sweep_one(struct bpf_map *map, struct lb_snat_key *key, struct lb_snat_port *port, __u32 *now)
{
	(void)map;
	if (snat_end(key, port, false, *now))
		bpf_map_delete_elem(&lb_snat_ports, key);
	return 0;
}

#endif
