package network

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/google/nftables"
	mdlayher "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Messages to nftables of our own, for what the library has not: it does not tell the
// generation, and cannot read or write a rule that sets a zone in one direction.

// genMessageBytes is the length of struct nfgenmsg, which each begins with.
const genMessageBytes = 4

// tableMessage is one about what is in a table.
func tableMessage(kind int, flags mdlayher.HeaderFlags, family nftables.TableFamily, attributes []byte) mdlayher.Message {
	return mdlayher.Message{
		Header: mdlayher.Header{Type: mdlayher.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | kind), Flags: mdlayher.Request | flags},
		Data:   append([]byte{byte(family), unix.NFNETLINK_V0, 0, 0}, attributes...),
	}
}

// attributes are those of a message, or of one of its parts.
func attributes(fill func(*mdlayher.AttributeEncoder)) ([]byte, error) {
	a := mdlayher.NewAttributeEncoder()
	a.ByteOrder = binary.BigEndian
	fill(a)
	return a.Encode()
}

// generation is what the kernel counts up with every transaction, of anyone. The
// kernel marks lists that such a one has interrupted, which the library does not
// tell.
func generation(raw *mdlayher.Conn) (uint32, error) {
	reply, err := raw.Execute(tableMessage(unix.NFT_MSG_GETGEN, 0, nftables.TableFamilyUnspecified, nil))
	if err != nil {
		return 0, fmt.Errorf("cannot ask for the generation: %w", err)
	}
	for _, m := range reply {
		if len(m.Data) < genMessageBytes {
			continue
		}
		d, err := mdlayher.NewAttributeDecoder(m.Data[genMessageBytes:])
		if err != nil {
			return 0, err
		}
		d.ByteOrder = binary.BigEndian
		for d.Next() {
			if d.Type() == unix.NFTA_GEN_ID {
				return d.Uint32(), nil
			}
		}
	}
	return 0, errors.New("the kernel does not tell the generation")
}

// comments are those of a table's rules, in order, by chain. The library would read the
// expressions too, and does not know all of them.
func comments(raw *mdlayher.Conn, table *nftables.Table) (map[string][]string, error) {
	request, err := attributes(func(a *mdlayher.AttributeEncoder) { a.String(unix.NFTA_RULE_TABLE, table.Name) })
	if err != nil {
		return nil, err
	}
	reply, err := raw.Execute(tableMessage(unix.NFT_MSG_GETRULE, mdlayher.Dump, table.Family, request))
	if err != nil {
		return nil, fmt.Errorf("cannot list the rules: %w", err)
	}
	out := map[string][]string{}
	for _, m := range reply {
		if len(m.Data) < genMessageBytes {
			continue
		}
		d, err := mdlayher.NewAttributeDecoder(m.Data[genMessageBytes:])
		if err != nil {
			return nil, err
		}
		var chain, comment string
		for d.Next() {
			switch d.Type() {
			case unix.NFTA_RULE_CHAIN:
				chain = d.String()
			case unix.NFTA_RULE_USERDATA:
				comment = commentOf(d.Bytes())
			}
		}
		if err := d.Err(); err != nil {
			return nil, err
		}
		out[chain] = append(out[chain], comment)
	}
	return out, nil
}

// A tableBatch gathers messages of what the library has not.
type tableBatch struct {
	family   nftables.TableFamily
	messages []mdlayher.Message
	err      error
}

func (b *tableBatch) add(kind int, flags mdlayher.HeaderFlags, fill func(*mdlayher.AttributeEncoder)) {
	data, err := attributes(fill)
	b.err = errors.Join(b.err, err)
	b.messages = append(b.messages, tableMessage(kind, flags, b.family, data))
}

// transact has the kernel carry out messages, all or nothing. After a failure the
// socket, which may still hold answers, must not be used again.
func transact(raw *mdlayher.Conn, messages []mdlayher.Message) error {
	edge := func(kind mdlayher.HeaderType) mdlayher.Message {
		return mdlayher.Message{
			Header: mdlayher.Header{Type: kind, Flags: mdlayher.Request},
			Data:   []byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, unix.NFNL_SUBSYS_NFTABLES},
		}
	}
	// Whichever fails, the kernel says so; that nothing has, it says of the last.
	messages[len(messages)-1].Header.Flags |= mdlayher.Acknowledge
	messages = slices.Concat([]mdlayher.Message{edge(unix.NFNL_MSG_BATCH_BEGIN)}, messages, []mdlayher.Message{edge(unix.NFNL_MSG_BATCH_END)})
	if _, err := raw.SendMessages(messages); err != nil {
		return err
	}
	_, err := raw.Receive()
	return err
}
