// Package peers tries the agent against real parts from Debian packages: NSD
// as name server, three Kamailio as registrars and proxies, SIPp and baresip
// as far ends, over UDP, TCP and TLS, in the clear and sealed. `make peers` runs
// its tests; they use loopback addresses only and end every process they started.
package peers
