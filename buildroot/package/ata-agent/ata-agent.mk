################################################################################
#
# ata-agent
#
################################################################################

# The package builds the tree that this external tree is part of.
ATA_AGENT_VERSION = local
ATA_AGENT_SITE = $(BR2_EXTERNAL_ATA_AGENT_PATH)/..
ATA_AGENT_SITE_METHOD = local
ATA_AGENT_LICENSE = BSD-3-Clause
ATA_AGENT_LICENSE_FILES = LICENSE

ATA_AGENT_GOMOD = github.com/ata-agent/ata-agent
ATA_AGENT_BUILD_TARGETS = cmd/ata-agent
ATA_AGENT_INSTALL_BINS = ata-agent

# A static program needs no C toolchain.
ATA_AGENT_ADD_TOOLCHAIN_DEPENDENCY = NO

ATA_AGENT_GOARCH_arm = arm
ATA_AGENT_GOARCH_aarch64 = arm64
ATA_AGENT_GOARCH_mips = mips
ATA_AGENT_GOARCH_mipsel = mipsle
ATA_AGENT_GOARCH_x86_64 = amd64

# The environment is given whole: HOST_GO_TARGET_ENV is empty on 32-bit MIPS.
# GOFIPS140 keeps a 32 MiB array out of the program that small boards refuse to map.
ATA_AGENT_GO_ENV = \
	$(HOST_GO_COMMON_ENV) \
	GOOS=linux \
	GOARCH=$(ATA_AGENT_GOARCH_$(BR2_ARCH:"%"=%)) \
	GOMIPS=softfloat \
	CGO_ENABLED=0 \
	GOFIPS140=v1.0.0

ifeq ($(BR2_ARM_CPU_ARMV7A)$(BR2_ARM_CPU_ARMV8A),y)
ATA_AGENT_GO_ENV += GOARM=7
else ifeq ($(BR2_ARM_CPU_ARMV6),y)
ATA_AGENT_GO_ENV += GOARM=6
else ifeq ($(BR2_arm),y)
ATA_AGENT_GO_ENV += GOARM=5
endif

# Lean, as the Makefile's LEAN: inlining only where sound moves and the ring turns.
ATA_AGENT_BUILD_OPTS = -trimpath -buildvcs=false -gcflags=all=-l \
	-gcflags=$(ATA_AGENT_GOMOD)/internal/media/...= \
	-gcflags=$(ATA_AGENT_GOMOD)/outbound=
ATA_AGENT_LDFLAGS = -s -w -X main.version=$(ATA_AGENT_VERSION)
ifeq ($(BR2_mips)$(BR2_mipsel),y)
# The Makefile says why.
ATA_AGENT_LDFLAGS += -R 0x4000
endif

# A local tree is not vendored by the download step. Where the builder has no
# network, ATA_AGENT_GOPROXY names a directory or server with the modules.
ATA_AGENT_GOPROXY ?= $(or $(GOPROXY),direct)
define ATA_AGENT_VENDOR
	cd $(@D) && $(HOST_GO_COMMON_ENV) GOFLAGS=-mod=mod GOPROXY=$(ATA_AGENT_GOPROXY) \
		$(GO_BIN) mod vendor
	$(@D)/scripts/lean/cut $(@D)/vendor/github.com/emiago/sipgo $(@D)/vendor/github.com/miekg/dns
endef
ATA_AGENT_PRE_CONFIGURE_HOOKS += ATA_AGENT_VENDOR

define ATA_AGENT_INSTALL_CONFIG
	$(INSTALL) -D -m 0600 $(ATA_AGENT_PKGDIR)/ata-agent.toml \
		$(TARGET_DIR)/etc/ata-agent/ata-agent.toml
endef
ATA_AGENT_POST_INSTALL_TARGET_HOOKS += ATA_AGENT_INSTALL_CONFIG

define ATA_AGENT_INSTALL_INIT_SYSV
	$(INSTALL) -D -m 0755 $(ATA_AGENT_PKGDIR)/S90ata-agent \
		$(TARGET_DIR)/etc/init.d/S90ata-agent
endef

define ATA_AGENT_LINUX_CONFIG_FIXUPS
	$(call KCONFIG_ENABLE_OPT,CONFIG_COMPAT_32BIT_TIME)
	$(call KCONFIG_ENABLE_OPT,CONFIG_FUTEX)
	$(call KCONFIG_ENABLE_OPT,CONFIG_EPOLL)
	$(call KCONFIG_ENABLE_OPT,CONFIG_EVENTFD)
endef

$(eval $(golang-package))
