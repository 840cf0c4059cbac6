/*
 * What spandsp hears of caller identity. Its one argument is a number of
 * adsi.h: 1 CLASS, 2 CLIP, 4 JCLIP, 5 CLIP-DTMF. On stdin are sounds, each
 * behind the number of its samples (32 bits; samples 16 bits, both of this
 * machine), on stdout a line of fields for each.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <spandsp.h>

static adsi_rx_state_t *rx;

static void heard(void *user, const uint8_t *msg, int len)
{
	uint8_t type;
	const uint8_t *body;
	int pos = 0, n;

	for (;;) {
		pos = adsi_next_field(rx, msg, len, pos, &type, &body, &n);
		if (pos <= 0)
			return;
		if (body && n > 0)
			printf("%02x=", type);
		for (int i = 0; body && i < n; i++)
			putchar(body[i] < ' ' || body[i] > '~' ? '?' : body[i]);
		printf(" ");
	}
}

int main(int argc, char **argv)
{
	uint32_t n;

	if (argc != 2)
		return 2;
	while (fread(&n, sizeof n, 1, stdin) == 1) {
		int16_t *sound = malloc(n * sizeof *sound);

		if (fread(sound, sizeof *sound, n, stdin) != n)
			return 1;
		rx = adsi_rx_init(NULL, atoi(argv[1]), heard, NULL);
		for (uint32_t i = 0; i < n; i += 160)
			adsi_rx(rx, sound + i, n - i < 160 ? n - i : 160);
		adsi_rx_free(rx);
		free(sound);
		printf("\n");
	}
	return 0;
}
