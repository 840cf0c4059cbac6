/*
 * What spandsp sends. Its one argument is a number of modem_connect_tones.h: 1 CNG,
 * 2 ANS, 3 with reversals, 4 with an envelope, 5 with both; or 6: a second of V.21
 * flags and what spandsp's own HDLC sends after them. On stdout are ten seconds of
 * sound, 16 bits, of this machine.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <spandsp.h>

static int16_t sound[80000];

static int bit(void *user)
{
	return hdlc_tx_get_bit(user);
}

int main(int argc, char *argv[])
{
	int type = argc > 1 ? atoi(argv[1]) : 0;
	int n = 0, k;

	if (type == 6) {
		static const uint8_t frame[] = { 0xff, 0x13, 0x80, 0x00, 0xce, 0xf8 };
		hdlc_tx_state_t *hdlc = hdlc_tx_init(NULL, 0, 2, 1, NULL, NULL);
		fsk_tx_state_t *fsk = fsk_tx_init(NULL, &preset_fsk_specs[FSK_V21CH2], bit, hdlc);

		hdlc_tx_flags(hdlc, 37);
		hdlc_tx_frame(hdlc, frame, sizeof(frame));
		n = 4000 + fsk_tx(fsk, sound + 4000, 9600);
	} else {
		modem_connect_tones_tx_state_t *tones = modem_connect_tones_tx_init(NULL, type);

		for (n = 4000; n < 80000 && (k = modem_connect_tones_tx(tones, sound + n, 80)) > 0; n += k)
			;
	}
	return write(1, sound, sizeof(sound)) != sizeof(sound);
}
