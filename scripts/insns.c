/* A plugin for qemu-user that counts the instructions a program executes and
 * says so at its end. The declarations are those of qemu-plugin.h, version 1,
 * which Debian does not ship. */
#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef uint64_t id_t_;
struct qemu_plugin_tb;
void qemu_plugin_register_vcpu_tb_trans_cb(id_t_, void (*)(id_t_, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, int op, void *, uint64_t);
void qemu_plugin_register_atexit_cb(id_t_, void (*)(id_t_, void *), void *);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);

#define SEEN __attribute__((visibility("default")))
SEEN int qemu_plugin_version = 1;

static uint64_t count;

static void block(id_t_ id, struct qemu_plugin_tb *tb)
{
	(void)id;
	qemu_plugin_register_vcpu_tb_exec_inline(tb, 0 /* add */, &count, qemu_plugin_tb_n_insns(tb));
}

static void end(id_t_ id, void *nothing)
{
	(void)id, (void)nothing;
	fprintf(stderr, "instructions %" PRIu64 "\n", count);
}

SEEN int qemu_plugin_install(id_t_ id, const void *info, int argc, char **argv)
{
	(void)info, (void)argc, (void)argv;
	qemu_plugin_register_vcpu_tb_trans_cb(id, block);
	qemu_plugin_register_atexit_cb(id, end, NULL);
	return 0;
}
