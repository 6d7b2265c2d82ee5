"""The rules of session options, each with an example that keeps it and one that breaks it."""

from __future__ import annotations

from tests.announcer.config.examples import Rule, peer

#: ``peer()`` makes iBGP; these make it eBGP.
_EBGP = "peer-asn: 64513\n"


def _rule(name: str, valid: str, invalid: str, key: str, problem: str, hint: str) -> Rule:
    return Rule(name, peer(valid), peer(invalid), f"peers[0].{key}", problem, hint)


_PASSWORD_RULES = [
    *(
        _rule(f"password {name}", f"password: {good}", f"password: {bad} # <-", "password", problem, hint)
        for name, good, bad, problem, hint in (
            ("length", "a" * 80, "a" * 81, "has 81 bytes, and the kernel takes 80", "ASCII letters"),
            ("blank", '"#,()[]!~:-"', '"one two"', "cannot be given", "no blanks"),
            ("double quote", "abc", "'one\"two'", "cannot be given", "quotes"),
            ("single quote", "0123", '"one\'two"', "cannot be given", "quotes"),
            ("semicolon", "yes", '"one;two"', "cannot be given", "semicolons"),
            ("brace", "'|/\\'", '"one{two}"', "cannot be given", "braces"),
            ("not ASCII", '"1"', "müde", "cannot be given", "ASCII"),
            ("control", '"a"', '"one\\ntwo"', "cannot be given", "ASCII"),
            ("empty", '"a"', '""', "has no value", "remove the key"),
            ("a list", '"a"', "[a]", "must be a single value, not a list", ""),
            ("an alias", "'*a'", "*a", "has a meaning in YAML", "in quotes"),
            ("a tag", "'!a'", "!a b", "has a meaning in YAML", "in quotes"),
        )
    ),
    _rule(
        "password-secret needs a name",
        "password-secret: {name: router}",
        "password-secret: {key: a} # <-",
        "password-secret.name",
        "is missing",
        "router-password",
    ),
    _rule(
        "password-secret name",
        "password-secret: {name: router.tor-1, key: tcp_md5.Key}",
        "password-secret: {name: Router} # <-",
        "password-secret.name",
        "is not the name of a Secret",
        "small letters",
    ),
    _rule(
        "password-secret key",
        "password-secret: {name: r, key: a}",
        "password-secret: {name: r, key: a/b} # <-",
        "password-secret.key",
        "is not a key of a Secret",
        "letters, digits",
    ),
    _rule(
        "password-secret is a map",
        "password-secret: {name: r}",
        "password-secret: hunter2 # <-",
        "password-secret",
        "must be a map, not a single value",
        "name, key",
    ),
    _rule(
        "password-secret namespace",
        "password-secret: {name: r}",
        "password-secret: {name: r, namespace: x} # <-",
        'password-secret["…"]',
        "is not a key here",
        "",
    ),
    _rule(
        "one password",
        "password: a",
        "password: a\npassword-secret: {name: r} # <-",
        "password-secret",
        'stands beside "password" (line 5), and a session has one password',
        "remove one",
    ),
]

SESSION_RULES = [
    *_PASSWORD_RULES,
    *(
        _rule(
            f"source-address {bad}", f"source-address: {good}", f"source-address: {bad} # <-", "source-address", why, do
        )
        for good, bad, why, do in (
            ("10.0.0.9", "10.0.0.0/24", "is a prefix, not an address", "without its length"),
            ("10.0.0.9", "eth0", "is not an IP address", ""),
            ("10.0.0.9", "10.0.0.1", "is the address of the peer itself", "of this node"),
            ("10.0.0.9", "'2001:db8::1'", "2001:db8::1 is IPv6, but the peer has IPv4", "write an IPv4 address"),
        )
    ),
    _rule(
        "multihop is for eBGP",
        _EBGP + "ebgp-multihop: true",
        "ebgp-multihop: true # <-",
        "ebgp-multihop",
        "an iBGP session may always have several hops",
        "remove it",
    ),
    _rule(
        "multihop false is for all",
        "ebgp-multihop: false",
        "ebgp-multihop: 2 # <-",
        "ebgp-multihop",
        '"2" is neither true nor false',
        "write true or false",
    ),
    _rule(
        "ttl-security or multihop",
        _EBGP + "ebgp-multihop: true\nttl-security: false",
        _EBGP + "ebgp-multihop: true\nttl-security: true # <-",
        "ttl-security",
        "contradicts ebgp-multihop in line 5",
        "remove one of the two",
    ),
    _rule(
        "ttl-security",
        "ttl-security: true",
        "ttl-security: 254 # <-",
        "ttl-security",
        '"254" is neither true nor false',
        "write true or false",
    ),
    *(
        _rule(f"connect-port {bad}", good, bad + " # <-", "connect-port", why, do)
        for good, bad, why, do in (
            ("connect-port: 1790", "connect-port: 0", "0 is out of range", "from 1 to 65535"),
            ("peer-port: 0\nconnect-port: 1790", "connect-port: bgp", "is not a whole number", "such as 179"),
            (
                "peer-port: 1790\nconnect-port: 1790",
                "peer-port: 1791\nconnect-port: 1790",
                '1790 contradicts "peer-port" in line 5',
                "remove one of the two",
            ),
        )
    ),
    *(
        _rule(f"families {bad}", f"families: {good}", f"families: {bad} # <-", key, why, do)
        for good, bad, key, why, do in (
            (
                "[ipv4]",
                "ipv4",
                "families",
                "must be a list of families, not a single value",
                'begin each item with "- "',
            ),
            ("[ipv6, ipv4]", "[ipv4, ipv5]", "families[1]", '"ipv5" is not an address family', "write ipv4 or ipv6"),
            ("[ipv6]", "[IPv6]", "families[0]", '"IPv6" is not an address family', "write ipv4 or ipv6"),
            ("[ipv4, ipv6]", "[ipv6, ipv6]", "families[1]", "ipv6 stands there twice", "remove one of the two"),
            ("[ipv4]", "[]", "families", "carries nothing", "name ipv4 or ipv6"),
        )
    ),
    _rule(
        "passive",
        "passive: true\nconnect-port: 1179",
        "passive: 1179 # <-",
        "passive",
        "neither true nor false",
        "write true",
    ),
    _rule(
        "passive is a truth", "passive: no", 'passive: "no" # <-', "passive", "neither true nor false", "without quotes"
    ),
    *(
        _rule(
            f"restart time {bad}",
            f"graceful-restart: {{time: {good}}}",
            f"graceful-restart: {{time: {bad}}} # <-",
            "graceful-restart.time",
            why,
            do,
        )
        for good, bad, why, do in (
            ("1s", "0s", "0s is out of range", "from 1s to 4095s"),
            ("1h8m15s", "4096s", "4096s is out of range", "from 1s to 4095s"),
            ("2m", "120", '"120" has no unit', 'write "120s"'),
        )
    ),
    _rule(
        "graceful-restart needs a time",
        "graceful-restart: {time: 120s}",
        "graceful-restart: {} # <-",
        "graceful-restart.time",
        "is missing",
        "time: 120s",
    ),
    _rule(
        "graceful-restart is a map",
        "graceful-restart: {time: 120s}",
        "graceful-restart: 120s # <-",
        "graceful-restart",
        "must be a map, not a single value",
        "time",
    ),
    *(
        _rule(
            f"keepalive {hold} {bad}",
            f"{hold}keepalive-time: {good}",
            f"{hold}keepalive-time: {bad} # <-",
            key,
            why,
            do,
        )
        for key in ("keepalive-time",)
        for hold, good, bad, why, do in (
            ("", "30s", "20s", "20s is not a third of the hold time (90s)", 'write "30s" or remove'),
            ("hold-time: 10s\n", "3.4s", "4s", "4s is not a third of the hold time (10s)", 'write "3s"'),
            ("hold-time: 0s\n", "0s", "1s", "not a third of the hold time (0s)", 'write "0s"'),
            ("", "30s", "30", '"30" has no unit', 'write "30s"'),
        )
    ),
]
