/* Lets everything pass. On the router's ports it stands for what a real network card does by itself: take in the frames
 * that the native XDP program at the other end of the wire transmits. No headers, so that nothing but clang is needed. */

enum { XDP_PASS = 2 };

__attribute__((section("xdp"), used)) int let_pass(void *frame)
{
	(void)frame;
	return XDP_PASS;
}
