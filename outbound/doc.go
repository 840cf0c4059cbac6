// Package outbound keeps a telephone line in touch with its outbound proxies:
// it knows every address they have, and which one is next when the present
// one fails. Its one idea is a ring of addresses with a finger on one of them.
//
//	proxy.example.net ─ DNS ─▶ 192.0.2.1, 192.0.2.2 ─┐
//	backup.example.org ─ DNS ─▶ 198.51.100.9 ────────┼─▶ Ring ◀─ finger: Current
//	203.0.113.7 ─────────────────────────────────────┘     │
//	                                            Judge ─▶ Next turns it
//
// # The parts
//
// A [Proxy] is one configured entry, a name or an address. A [Resolver] finds
// the addresses of a name, in the order that RFC 3263 asks for. A [Ring] holds
// the addresses of all proxies in configured order, and the [Health] of each. A
// [Policy] is the ring with all decisions: which address is next, how long to
// wait, whom to believe. It is a value that is told the time. A [Route] puts
// around it what touches the world: DNS, a file, a lock, a log. Lines with the
// same proxies share one Route; a fleet of Policies is watched by
// internal/lab/fleet.
//
// # How a line uses a Route
//
//	go route.Run(ctx)
//	via, err := route.First(ctx)
//	for err == nil {
//		began := time.Now()
//		if failure := register(ctx, via); failure != nil {
//			failure.Began = began
//			via, wait = route.Next(via, *failure)
//			sleep(ctx, wait)
//			continue
//		}
//		route.Good(via, time.Since(began))
//		...
//	}
//
// [Route.Next] moves on only from the address that the caller saw fail, so a
// REGISTER and an INVITE that fail together turn the ring once. [Route.Moved]
// wakes whoever should follow. A call uses the address that Next returns at
// once; only a registration waits.
//
// How long a request may stay unanswered, [Route.Pace] says, and how a silent
// address may prove that it lives, [Route.Proof]: both follow round-trip time
// and loss, so that a quick proxy is doubted after a second, and a slow or lossy
// way is not taken for a dead one. Dead is not slow.
//
// While a whole tour has failed, a line probes [Route.Targets] every
// [Route.Lookout] and reports answers to [Route.Alive]; when that returns true
// it registers at [Route.Current] as soon as [Route.Wait] has passed. While it is
// well it probes [Route.Standby] now and then and reports to [Route.Heard] and
// [Route.Unheard], so that the next address is known before it is needed; and it
// asks [Route.Back] whether to return to a preferred one.
//
// # What moves the ring
//
// [Judge] decides by a table, each row with its reason and its source. Dead is
// not slow, an account that is refused is not a proxy that is dead, and a
// pulled cable is neither.
//
// # What DNS can and cannot do
//
// When the finger comes round the end all names are asked again, one question
// at a time per name, while the tour goes on with the old addresses. An answer
// changes the addresses; failure, silence, "no such name" and nonsense change
// nothing. An answer never moves a line from an address that works, even one
// that DNS has dropped. Addresses that were good are kept in a file and used at
// boot when DNS is dead. The law behind all this: while one configured proxy
// answers, the line comes back.
//
// # Pace
//
// An idle line's first failover waits U(0, Spread), so that those who lose a
// proxy together do not arrive together; whoever has lifted the receiver goes now.
// Inside a tour the next address is tried at once, or with a Spread after
// rand(½..1)·min(4 s, Spread)·2ⁿ. After a tour in which every address failed a registration waits rand(½..1)·min(cap, 4 s·2ⁿ), the shape of
// RFC 5626 section 4.5, with n counting such tours. Nothing in DNS and no
// Retry-After resets n, nor does a success alone: where a proxy takes a
// registration and loses it again at once, a fleet would start the same storm
// over and over. A registration that has held for a minute resets it. On the
// first success after a start that makes no difference: n is 0 until a whole
// tour has failed.
//
// Calls do not wait and do not count: a person who dials in vain does not slow
// down the registration.
//
// A sign of life cuts a wait short, once. If a registration did not confirm it
// the next one counts less: an overwhelmed proxy answers probes and nothing else.
//
// Spread also says how many share the proxies, for all that a device cannot know:
// how patient a registration is with an address it comes to, how often all are
// probed, and over how long a fleet returns to a proxy that is well again.
//
// # The account
//
// An account that is refused is tried at the other addresses too, since one
// registrar may know what another does not; but slowly, and ever more slowly,
// from half a minute to twenty. Lines of other accounts on the same Route are
// left where they are: the finger stays where some line reports Good.
package outbound
