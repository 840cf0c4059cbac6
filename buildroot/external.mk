include $(sort $(wildcard $(BR2_EXTERNAL_ATA_AGENT_PATH)/package/*/*.mk))
