/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * From a frame to its 5-tuple, or to the reason why it has none that we serve. Written once for both hooks: define
 *
 *   PARSE_CTX           the type of the context
 *   PARSE_NAME(name)    what a function is called there
 *   PARSE_GET(...)      (ctx, type, name, offset): declares `name`, a pointer to what is there, NULL if nothing is
 *   PARSE_HAS(ctx, n)   whether the frame has n bytes, with what is behind the first buffer
 *
 * and include it.
 */
#define PARSE_FINE 0
#define PARSE_FOREIGN -1 /* not IP, or not enough of it to say whose it is */

#define MAX_EXTENSIONS 6 /* RFC 8200 section 4.1 recommends an order in which each comes once */

/* Behind the link-layer header, with up to two VLAN tags (802.1Q, 802.1ad). */
static __always_inline bool PARSE_NAME(find_network)(PARSE_CTX *ctx, struct packet *p)
{
	PARSE_GET(ctx, struct ether, eth, 0);
	__be16 kind;

	if (!eth)
		return false;
	kind = eth->kind;
	p->l3 = sizeof(*eth);
#pragma unroll
	for (int i = 0; i < 2; i++) {
		if (kind != bpf_htons(ETH_P_8021Q) && kind != bpf_htons(ETH_P_8021AD))
			break;
		PARSE_GET(ctx, struct vlan, tag, p->l3);
		if (!tag)
			return false;
		p->vlan[i] = bpf_ntohs(tag->tci) & 0xfff;
		p->l3 += sizeof(*tag);
		kind = tag->kind;
	}
	if (kind == bpf_htons(ETH_P_IP))
		p->family = AF_INET;
	else if (kind == bpf_htons(ETH_P_IPV6))
		p->family = AF_INET6;
	else
		return false;
	return true;
}

/* The transport header at p->l4, and whether the packet is as long as it says. */
static __always_inline int PARSE_NAME(parse_transport)(PARSE_CTX *ctx, struct packet *p)
{
	bool quoted = p->flags & PACKET_QUOTED;
	__u32 need;

	switch (p->protocol) {
	case IPPROTO_TCP:
		need = sizeof(struct tcphdr);
		break;
	case IPPROTO_SCTP:
		need = sizeof(struct sctp);
		break;
	case IPPROTO_UDP:
		need = sizeof(struct udphdr);
		break;
	case IPPROTO_ICMP:
		need = p->family == AF_INET ? sizeof(struct icmp) : 0;
		break;
	case IPPROTO_ICMPV6:
		need = p->family == AF_INET6 ? sizeof(struct icmp) : 0;
		break;
	default:
		need = 0;
	}
	if (quoted) {
		need = need ? sizeof(struct udphdr) : 0; /* RFC 792: "the first 64 bits of the original data" */
	} else if (!(p->flags & PACKET_OWN)) {
		__u32 headers = p->l4 - p->l3;

		if (!(p->flags & PACKET_LATER_FRAGMENT))
			headers += need;
		if (p->length < headers || !PARSE_HAS(ctx, p->l3 + p->length))
			return LB_truncated;
	}
	if (p->flags & PACKET_LATER_FRAGMENT)
		return PARSE_FINE;
	if (!need)
		return LB_other_protocol;
	if (p->protocol == IPPROTO_TCP && !quoted) {
		PARSE_GET(ctx, struct tcphdr, tcp, p->l4);
		if (!tcp)
			return LB_truncated;
		p->ports.source = tcp->source;
		p->ports.dest = tcp->dest;
		p->tcp = ((const __u8 *)tcp)[13];
		return PARSE_FINE;
	}
	if (p->protocol == IPPROTO_SCTP && !quoted) {
		PARSE_GET(ctx, struct sctp, sctp, p->l4);
		if (!sctp)
			return LB_truncated;
		p->ports = sctp->ports;
		return PARSE_FINE;
	}
	PARSE_GET(ctx, struct icmp, head, p->l4); /* eight bytes, as UDP's header and what is quoted of any */
	if (!head)
		return LB_truncated;
	if (p->protocol == IPPROTO_ICMP || p->protocol == IPPROTO_ICMPV6) {
		p->icmp_type = head->type;
		p->icmp_code = head->code;
	} else {
		p->ports = *(const struct ports *)head;
	}
	return PARSE_FINE;
}

static __always_inline int PARSE_NAME(parse_ipv4)(PARSE_CTX *ctx, struct packet *p)
{
	PARSE_GET(ctx, struct iphdr, ip, p->l3);
	__u16 fragment;

	if (!ip || ip->version != 4)
		return PARSE_FOREIGN;
	map_address(&p->source, ip->saddr);
	map_address(&p->dest, ip->daddr);
	p->protocol = ip->protocol;
	p->tos = ip->tos;
	p->ttl = ip->ttl;
	p->length = bpf_ntohs(ip->tot_len);
	p->l4 = p->l3 + ip->ihl * 4;
	p->fragment_id = ip->id;
	if (ip->ihl < 5)
		return LB_truncated;
	fragment = bpf_ntohs(ip->frag_off);
	if (fragment & IP_OFFSET)
		p->flags |= PACKET_LATER_FRAGMENT;
	else if (fragment & IP_MORE_FRAGMENTS)
		p->flags |= PACKET_FIRST_FRAGMENT;
	return PARSE_FINE;
}

static __always_inline bool PARSE_NAME(is_extension)(__u8 kind)
{
	return kind == IPPROTO_HOPOPTS || kind == IPPROTO_DSTOPTS || kind == IPPROTO_ROUTING || kind == IPPROTO_AH ||
	       kind == IPPROTO_FRAGMENT;
}

/* From the extension header at p->l4, of the kind p->protocol, to the transport header. Few packets have any. */
__attribute__((noinline)) int PARSE_NAME(lb_extensions)(PARSE_CTX *ctx, struct packet *p)
{
	if (!p)
		return PARSE_FOREIGN;
	for (int i = 0; i < MAX_EXTENSIONS; i++) {
		__u8 kind = p->protocol;

		if (!PARSE_NAME(is_extension)(kind))
			return PARSE_FINE;
		PARSE_GET(ctx, struct ip6_extension, extension, p->l4);
		if (!extension)
			return LB_truncated;
		p->protocol = extension->next;
		if (kind == IPPROTO_FRAGMENT) {
			p->l4 += sizeof(*extension);
			p->fragment_id = extension->id;
			if (extension->offset & bpf_htons(IP6_OFFSET)) {
				p->flags |= PACKET_LATER_FRAGMENT;
				return PARSE_FINE;
			}
			if (extension->offset & bpf_htons(IP6_MORE_FRAGMENTS))
				p->flags |= PACKET_FIRST_FRAGMENT;
		} else if (kind == IPPROTO_AH) {
			p->l4 += (extension->length + 2) * 4; /* RFC 4302 section 2.2 */
		} else {
			if (kind == IPPROTO_ROUTING && extension->segments_left)
				return LB_extension; /* it is not to end here */
			p->l4 += (extension->length + 1) * 8;
		}
		if (p->l4 > PACKET_REACH)
			return LB_extension;
	}
	return LB_extension;
}

static __always_inline int PARSE_NAME(parse_ipv6)(PARSE_CTX *ctx, struct packet *p)
{
	PARSE_GET(ctx, struct ipv6hdr, ip, p->l3);

	if (!ip || ip->version != 6)
		return PARSE_FOREIGN;
	__builtin_memcpy(&p->source, &ip->saddr, sizeof(p->source));
	__builtin_memcpy(&p->dest, &ip->daddr, sizeof(p->dest));
	p->protocol = ip->nexthdr;
	p->tos = ip->priority << 4 | ip->flow_lbl[0] >> 4;
	p->ttl = ip->hop_limit;
	p->length = bpf_ntohs(ip->payload_len) + sizeof(*ip);
	p->l4 = p->l3 + sizeof(*ip);
	return PARSE_NAME(is_extension)(p->protocol) ? PARSE_NAME(lb_extensions)(ctx, p) : PARSE_FINE;
}

/*
 * The IP packet at p->l3, of p->family. PARSE_FINE, PARSE_FOREIGN, or the reason for which it is dropped if it turns out
 * to be for a VIP; then the addresses are filled in.
 */
static __always_inline int PARSE_NAME(parse)(PARSE_CTX *ctx, struct packet *p)
{
	int problem = PARSE_FOREIGN;

	if (p->family == AF_INET)
		problem = PARSE_NAME(parse_ipv4)(ctx, p);
	else if (p->family == AF_INET6)
		problem = PARSE_NAME(parse_ipv6)(ctx, p);
	return problem == PARSE_FINE ? PARSE_NAME(parse_transport)(ctx, p) : problem;
}

/* The same as a function of its own, verified once for all its callers. */
__attribute__((noinline)) int PARSE_NAME(lb_parse)(PARSE_CTX *ctx, struct packet *p)
{
	return p ? PARSE_NAME(parse)(ctx, p) : PARSE_FOREIGN;
}
