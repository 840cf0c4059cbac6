// Package lab is a provider in a box: proxies, a name server, far ends that
// talk, a network between them, and a phone with a hand and an ear.
//
// Its one idea: a fake must be an honest machine. The proxies speak real SIP
// and ask for real credentials, the name server answers real DNS messages,
// sound is real RTP, and a machine does not know whether its sockets are
// channels or the kernel's. So the same scenario is played in virtual time
// inside testing/synctest, where an hour of silence costs nothing, and in real
// time on loopback sockets from cmd/ata-lab.
//
// A scenario is a text file that says what is done; [Play] writes what
// followed. See Script for the words it may use.
//
// Two habits make a transcript repeatable to the byte on every architecture:
// each flow of the network has its own constant delay, a few microseconds
// beside all others, and the hand acts between two frames of sound. Virtual
// time orders instants; it does not order what shares one.
package lab
