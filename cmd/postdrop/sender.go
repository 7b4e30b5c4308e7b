package main

import (
	"os/user"
	"strconv"
	"strings"

	"postroad/libmail/addr"
	"postroad/libmail/conf"
	"postroad/libmail/maillog"
	"postroad/libmail/table"
)

// loginName is the name of a user id, or "uid:N" for one without account.
func loginName(uid int) string {
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return u.Username
	}
	return "uid:" + strconv.Itoa(uid)
}

// senderRules say which sender addresses a login name may use
// (local_login_sender_maps): a list of addresses, @domains, * for all, and
// the key of the null sender.
type senderRules struct {
	spec       string
	open       bool // all may use all
	null       string
	delimiters addr.Delimiters
	options    table.Options
	list       []string
}

func newSenderRules(c *conf.Config, log *maillog.Logger) senderRules {
	r := senderRules{
		spec: c.String("local_login_sender_maps"), list: c.List("local_login_sender_maps"),
		null: c.String("empty_address_local_login_sender_maps_lookup_key"),
		delimiters: addr.Delimiters{Set: c.String("recipient_delimiter"),
			OwnerRequest: c.Bool("owner_request_special"), DoubleBounce: c.String("double_bounce_sender")},
		options: table.Options{Log: log, UTF8: c.Bool("smtputf8_enable")},
	}
	r.open = r.spec == "static:*"
	return r
}

// allow reports whether a user may send as sender, in internal form.
func (r senderRules) allow(login, sender string) (bool, error) {
	if r.open {
		return true, nil
	}
	maps, err := table.OpenMaps("local_login_sender_maps", r.list, r.options)
	if err != nil {
		return false, err
	}
	defer maps.Close()
	value, found, err := maps.Find(login)
	if err != nil || !found {
		return false, err
	}
	bare, _, _ := r.delimiters.Strip(sender)
	bare = addr.Quote(bare)
	for _, pattern := range splitQuoted(value) {
		switch {
		case pattern[0] == '@':
			i := strings.LastIndexByte(sender, '@')
			if i >= 0 && addr.EqualFold(pattern, sender[i:]) {
				return true, nil
			}
		case pattern == "*":
			return true, nil
		case strings.EqualFold(pattern, r.null):
			if sender == "" {
				return true, nil
			}
		case addr.EqualFold(pattern, bare):
			return true, nil
		}
	}
	return false, nil
}

// splitQuoted splits text at commas and blanks outside double quotes.
func splitQuoted(text string) (words []string) {
	start, quoted := -1, false
	for i := 0; i <= len(text); i++ {
		if i < len(text) && (quoted || !strings.ContainsRune(", \t\r\n", rune(text[i]))) {
			if start < 0 {
				start = i
			}
			switch {
			case text[i] == '\\' && quoted:
				i++
			case text[i] == '"':
				quoted = !quoted
			}
			continue
		}
		if start >= 0 {
			words = append(words, text[start:min(i, len(text))])
			start = -1
		}
	}
	return words
}
