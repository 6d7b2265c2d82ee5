/* Sends every frame of the local experimental EtherType 0x88b5 (IEEE 802) back where it came from, in the two ways that
 * XDP has for it. No headers, so that nothing but clang is needed. */
typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;

struct xdp_md {
	u32 data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex;
};

enum { XDP_PASS = 2, XDP_TX = 3 };

#define SEC(name) __attribute__((section(name), used))

static long (*const bpf_redirect)(u32 ifindex, u64 flags) = (void *)23;

static int turn_around(struct xdp_md *ctx)
{
	u8 *frame = (u8 *)(unsigned long)ctx->data;

	if (frame + 14 > (u8 *)(unsigned long)ctx->data_end || frame[12] != 0x88 || frame[13] != 0xb5)
		return 0;
	for (int i = 0; i < 6; i++) {
		u8 byte = frame[i];

		frame[i] = frame[6 + i];
		frame[6 + i] = byte;
	}
	return 1;
}

SEC("tx") int reflect_tx(struct xdp_md *ctx)
{
	return turn_around(ctx) ? XDP_TX : XDP_PASS;
}

SEC("redirect") int reflect_redirect(struct xdp_md *ctx)
{
	return turn_around(ctx) ? bpf_redirect(ctx->ingress_ifindex, 0) : XDP_PASS;
}

SEC("license") const char licence[] = "GPL";
