package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postroad/libmail/conf"
	"postroad/libmail/table"
)

// loadSettings reads the rules as at startup.
func loadSettings(t *testing.T, settings string) error {
	t.Helper()
	b := newTestbed(t, "", map[string]string{})
	if err := os.WriteFile(filepath.Join(b.dir, "main.cf"), []byte(testHost+settings), 0600); err != nil {
		t.Fatal(err)
	}
	c, err := conf.Load(b.dir)
	if err != nil {
		t.Fatal(err)
	}
	sv := &service{log: b.service.log}
	if sv.params, err = readParams(c); err != nil {
		return err
	}
	return sv.load(table.Options{Log: sv.log})
}

func TestNoOpenRelay(t *testing.T) {
	for settings, safe := range map[string]bool{
		"": true,
		"smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination":                                                                                true,
		"smtpd_relay_restrictions =\nsmtpd_recipient_restrictions =":                                                                                             false,
		"smtpd_relay_restrictions =\nsmtpd_recipient_restrictions = permit":                                                                                      false,
		"smtpd_relay_restrictions =\nsmtpd_recipient_restrictions = permit_mynetworks, reject":                                                                   true,
		"smtpd_relay_restrictions =\nsmtpd_recipient_restrictions = permit, reject":                                                                              false,
		"smtpd_relay_restrictions =\nsmtpd_recipient_restrictions = warn_if_reject reject_unauth_destination":                                                    false,
		"smtpd_relay_restrictions =\nsmtpd_recipient_restrictions = check_client_access inline:{a=reject}":                                                       false,
		"smtpd_relay_restrictions = permit_mynetworks\nsmtpd_recipient_restrictions = reject_unauth_destination":                                                 true,
		"smtpd_relay_restrictions = permit_mynetworks, mine\nsmtpd_restriction_classes = mine\nmine = defer_unauth_destination\nsmtpd_recipient_restrictions =":  true,
		"smtpd_relay_restrictions = permit_mynetworks, mine\nsmtpd_restriction_classes = mine\nmine = permit_sasl_authenticated\nsmtpd_recipient_restrictions =": false,
		"smtpd_relay_restrictions = mine\nsmtpd_restriction_classes = mine\nmine = mine\nsmtpd_recipient_restrictions =":                                         false,
	} {
		err := loadSettings(t, settings)
		if safe && err != nil || !safe && (err == nil || !strings.Contains(err.Error(), "specify at least one working instance of")) {
			t.Errorf("%q: %v", settings, err)
		}
	}
}

func TestMistakesThatStopTheProgram(t *testing.T) {
	for settings, want := range map[string]string{
		"smtpd_client_restrictions = check_policy_service tcp:x":                   "need inet:host:port",
		"smtpd_client_restrictions = check_policy_service { inet:x:1 color=blue}":  "unknown attribute",
		"smtpd_restriction_classes = mine":                                         "needs a definition",
		"smtpd_client_restrictions = check_client_access { inline:{a=b} {x = y} }": "unknown attribute",
	} {
		if err := loadSettings(t, settings); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", settings, err)
		}
	}
}
