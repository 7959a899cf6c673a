package cloudsim

import "encoding/binary"

// A client and a broker number their packets independently, but the broker
// here takes a client's number for one of its own: it refuses a subscription,
// or forgets a message, that has the number of a message under way. So the
// client's numbers are moved by half of all on their way in, and back on the
// way out. The broker counts from 1 for each connection, and does not get there.

const (
	numbers = 65535 // 1 and up
	moved   = 32767
)

// moveIn moves the number in a packet of the client, if it is the client's.
func moveIn(packet []byte) {
	switch packet[0] >> 4 {
	case typePublish, typePubrel, typeSubscribe, typeUnsubscribe:
		move(packet, moved)
	}
}

// moveOut gives a packet for the client with the number that the client gave.
func moveOut(packet []byte) []byte {
	switch packet[0] >> 4 {
	case typePuback, typePubrec, typePubcomp, typeSuback, typeUnsuback:
		packet = append([]byte(nil), packet...)
		move(packet, numbers-moved)
	}
	return packet
}

// move adds to the number in a packet, around the end of all numbers. A packet
// without one, or with the impossible 0, stays as it is.
func move(packet []byte, by int) {
	at := 1
	for at < len(packet) && packet[at] >= 0x80 {
		at++
	}
	at++
	if packet[0]>>4 == typePublish {
		if packet[0]&6 == 0 || at+2 > len(packet) {
			return
		}
		at += 2 + int(binary.BigEndian.Uint16(packet[at:]))
	}
	if at+2 > len(packet) {
		return
	}
	if number := int(binary.BigEndian.Uint16(packet[at:])); number > 0 {
		binary.BigEndian.PutUint16(packet[at:], uint16((number-1+by)%numbers+1))
	}
}
