//! A configuration is read from all its places, and every fault is named.

use super::{settings::no_reply, *};

fn load(text: &str, environment: &[(&str, &str)]) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("postroom.toml");
    std::fs::write(&file, text).unwrap();
    let environment = environment.iter().map(|&(key, value)| (key.to_owned(), value.to_owned()));
    Config::load(Some(&file), environment).map_err(|faults| faults.to_string())
}

#[test]
fn the_defaults_are_a_configuration() {
    let config = load("", &[]).unwrap();
    assert_eq!(config.http.listen.port(), 8025);
    assert!(config.smtp.routes.is_empty());
}

#[test]
fn the_environment_goes_over_the_file_and_the_file_over_the_defaults() {
    let text = "[database]\nurl = \"sqlite:a.db\"\n[worker]\nconcurrency = 3\n";
    let config = load(text, &[("POSTROOM_WORKER__CONCURRENCY", "5"), ("OTHER", "x")]).unwrap();
    assert_eq!((config.database.url.as_str(), config.worker.concurrency), ("sqlite:a.db", 5));
}

#[test]
fn a_route_can_be_given_in_the_environment() {
    let environment = [
        ("POSTROOM_SMTP__ROUTES__0__NAME", "main"),
        ("POSTROOM_SMTP__ROUTES__0__HOST", "127.0.0.1"),
        ("POSTROOM_SMTP__ROUTES__0__PORT", "2525"),
        ("POSTROOM_SMTP__ROUTES__0__TLS", "none"),
    ];
    let config = load("", &environment).unwrap();
    assert_eq!((config.smtp.routes.len(), config.smtp.routes[0].port), (1, 2525));
}

fn route_in_environment(index: usize) -> [(String, String); 4] {
    let variable =
        |field: &str, value: &str| (format!("POSTROOM_SMTP__ROUTES__{index}__{field}"), value.to_owned());
    [variable("NAME", "1"), variable("HOST", "127.0.0.1"), variable("PORT", "2525"), variable("TLS", "none")]
}

#[test]
fn a_variable_that_looks_like_a_number_is_text_where_that_is_wanted() {
    let route = route_in_environment(0);
    let mut environment: Vec<_> = route.iter().map(|(name, value)| (&**name, &**value)).collect();
    environment.extend([
        ("POSTROOM_SMTP__ROUTES__0__USERNAME", "true"),
        ("POSTROOM_SMTP__ROUTES__0__PASSWORD", "\"2e5\""),
    ]);
    let config = load("", &environment).unwrap();
    let route = &config.smtp.routes[0];
    assert_eq!((&*route.name, route.username.as_deref(), route.port), ("1", Some("true"), 2525));
    assert_eq!(secrecy::ExposeSecret::expose_secret(route.password.as_ref().unwrap()), "\"2e5\"");
}

#[test]
fn a_password_is_in_no_fault() {
    let route =
        "[[smtp.routes]]\nname = \"m\"\nhost = \"relay\"\nport = 1\ntls = \"none\"\nusername = \"u\"\n";
    let said = load(&format!("{route}password = 123456\n"), &[]).unwrap_err();
    assert!(said.contains("postroom.toml:7: smtp.routes[0].password: must be text in quotes"), "{said}");
    assert!(!said.contains("123456"), "{said}");
}

#[test]
fn more_than_ten_routes_can_be_given_in_the_environment_and_a_gap_is_a_fault() {
    let routes: Vec<_> = (0..12).flat_map(route_in_environment).collect();
    let named = |(name, value): &(String, String)| match name.ends_with("NAME") {
        true => (name.clone(), format!("r{}", name.replace(|c: char| !c.is_ascii_digit(), ""))),
        false => (name.clone(), value.clone()),
    };
    let routes: Vec<_> = routes.iter().map(named).collect();
    let routes: Vec<_> = routes.iter().map(|(name, value)| (&**name, &**value)).collect();
    let names = |config: Config| config.smtp.routes.into_iter().map(|route| route.name).collect::<Vec<_>>();
    let expected: Vec<_> = (0..12).map(|index| format!("r{index}")).collect();
    assert_eq!(names(load("", &routes).unwrap()), expected);
    let said = load("", &routes[4..]).unwrap_err();
    assert!(said.contains("ROUTES__1__HOST: smtp.routes[1].host: there is none before it"), "{said}");
}

#[test]
fn an_empty_section_that_is_unknown_is_a_fault() {
    let said = load("[bogus]\n[smtp.foo]\n[limits.x.y]\n[http]\n", &[]).unwrap_err();
    for key in ["bogus", "smtp.foo", "limits.x"] {
        assert!(said.contains(&format!(" {key}: unknown field")), "{key} is missing in\n{said}");
    }
    assert_eq!(said.lines().count(), 4, "{said}");
}

#[test]
fn every_fault_is_named_at_once_with_its_key_and_its_source() {
    let text = "[database]\nurl = 5\n[http]\nlisten = \"here\"\nmaxbody = 1\n[nonsense]\nx = 1\n";
    let faults = load(text, &[("POSTROOM_WORKER__CONCURRENCY", "many")]).unwrap_err();
    for expected in [
        "database.url",
        "http.listen",
        "http.maxbody",
        "nonsense",
        "POSTROOM_WORKER__CONCURRENCY",
        "postroom.toml",
    ] {
        assert!(faults.contains(expected), "{expected} is missing in:\n{faults}");
    }
}

#[test]
fn a_secret_can_live_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("relay-password");
    std::fs::write(&secret, "s3cret\n").unwrap();
    let text = format!(
        "[[smtp.routes]]\nname = \"main\"\nhost = \"relay.example\"\nport = 587\ntls = \"starttls\"\nusername = \"u\"\npassword_file = {secret:?}\n"
    );
    let config = load(&text, &[]).unwrap();
    let password = config.smtp.routes[0].password.as_ref().unwrap();
    assert_eq!(secrecy::ExposeSecret::expose_secret(password), "s3cret");
    assert!(!format!("{config:?}").contains("s3cret"));
}

#[test]
fn a_merchant_without_a_sender_writes_from_where_its_links_lead() {
    for (public_url, expected) in [
        ("https://post.example.com/x", "no-reply@post.example.com"),
        ("http://bücher.example:8025", "no-reply@xn--bcher-kva.example"),
        ("http://127.0.0.1:8025", "no-reply@postroom.invalid"),
        ("http://[::1]:8025", "no-reply@postroom.invalid"),
        ("http://localhost", "no-reply@postroom.invalid"),
    ] {
        assert_eq!(no_reply(&public_url.parse().unwrap()).to_string(), expected);
    }
}

#[test]
fn an_embedded_queue_serves_no_separate_role() {
    let config = load("", &[]).unwrap();
    assert!(config.check_role(Role::All).is_ok());
    assert!(config.check_role(Role::Worker).unwrap_err().to_string().contains("queue.url"));
}

/// A file, and what must be said of it: each a line of its own.
const WRONG: [(&str, &[&str]); 22] = [
    ("[http]\nrate = \"fast\"\n", &["postroom.toml:2: http.rate: `fast` is not a rate"]),
    (
        "[database]\nurl = \"mysql://db/post\"\n",
        &["postroom.toml:2: database.url: database.url must begin with `sqlite:` or"],
    ),
    (
        "[queue]\n\nurl = \"amqp://mq\"\n",
        &["postroom.toml:3: queue.url: `queue.url` is neither `memory:` nor"],
    ),
    ("[log]\nfilter = \"postroom=loud\"\n", &["postroom.toml:2: log.filter: `postroom=loud`: "]),
    (
        "[retry]\nfirst = \"2h\"\nlongest = \"1h\"\n",
        &["postroom.toml:2: retry.first: 7200s must not exceed retry.longest, which is 3600s"],
    ),
    ("[retry]\nlongest = \"1s\"\n", &["retry.first: 10s must not exceed retry.longest, which is 1s"]),
    (
        "[http]\nlisten = \"127.0.0.1:8026\"\n",
        &["admin.listen: must not be 127.0.0.1:8026, because http.listen has port 8026 already"],
    ),
    (
        "[worker]\nconcurrency = 4\n[callbacks]\nconcurrency = 8\n",
        &["postroom.toml:4: callbacks.concurrency: 8 must not exceed worker.concurrency, which is 4"],
    ),
    (
        "[worker]\nconcurrency = -1\n",
        &[
            "postroom.toml:2: worker.concurrency: invalid value: integer `-1`, expected a whole number, 0 or more",
        ],
    ),
    (
        "[[smtp.routes]]\nname = \"main\"\nhost = \"relay\"\nport = 70000\ntls = \"perhaps\"\n",
        &[
            "postroom.toml:4: smtp.routes[0].port: invalid value: integer `70000`, expected a whole number from 0 to 65535",
            "postroom.toml:5: smtp.routes[0].tls: unknown variant `perhaps`, expected one of `none`, `opportunistic`",
        ],
    ),
    (
        "[[smtp.routes]]\nname = \"a b\"\nport = 25\ntls = \"none\"\n[[smtp.routes]]\nname = \"x\"\nhost = \"relay\"\nport = 0\ntls = \"none\"\nrate = \"5/fortnight\"\n",
        &[
            "postroom.toml:2: smtp.routes[0].name: route name `a b` is not 1 to 64 letters",
            "postroom.toml:1: smtp.routes[0].host: is missing",
            "postroom.toml:8: smtp.routes[1].port: route `x`: port must be 1 to 65535",
            "postroom.toml:10: smtp.routes[1].rate: `fortnight` is not a unit of time",
        ],
    ),
    (
        "[[smtp.routes]]\nname = \"main\"\nhost = \"relay\"\nport = 25\ntls = \"none\"\nport = 26\n[http\n",
        &["postroom.toml:6: is not TOML: duplicate key", "postroom.toml:7: is not TOML:"],
    ),
    (
        "[http]\nlisten = \"8025\"\npublic_url = \"post.example.com\"\n",
        &[
            "postroom.toml:2: http.listen: must be an IP address and a port",
            "postroom.toml:3: http.public_url: must be a whole URL",
        ],
    ),
    (
        "[[smtp.routes]]\nname = \"main\"\nhost = \"relay\"\nport = 25\ntls = \"none\"\nweight = 0\nlanes = [\"bulk\", \"bulk\"]\nmails_per_connection = 0\ntimeout = \"1h\"\nsender_domains = [\"A.example\", \"a.example\", \"\"]\nmerchants = [\"acme\", \"acme\"]\n",
        &[
            "postroom.toml:6: smtp.routes[0].weight: route `main`: weight must be 1 to 1000",
            "postroom.toml:7: smtp.routes[0].lanes: route `main`: `bulk` is there twice",
            "postroom.toml:8: smtp.routes[0].mails_per_connection: route `main`: mails_per_connection must be at least 1",
            "postroom.toml:9: smtp.routes[0].timeout: route `main`: timeout must be 1s to 10m",
            "postroom.toml:10: smtp.routes[0].sender_domains: route `main`: `a.example` is there twice",
            "postroom.toml:10: smtp.routes[0].sender_domains: route `main`: `` is not a domain name",
            "postroom.toml:11: smtp.routes[0].merchants: route `main`: `acme` is there twice",
        ],
    ),
    (
        "[[smtp.routes]]\nname = \"main\"\nhost = \"relay\"\nport = 25\ntls = \"none\"\nlanes = [\"slow\"]\n",
        &[
            "postroom.toml:6: smtp.routes[0].lanes[0]: unknown variant `slow`, expected `transactional` or `bulk`",
        ],
    ),
    (
        "[smtp]\nhello_name = \"a b\"\n[[smtp.routes]]\nname = \"main\"\nhost = \"relay\"\nport = 25\ntls = \"none\"\n\
         provider_id = \"(\"\n",
        &["postroom.toml:2: smtp.hello_name: `a b` is not", "postroom.toml:8: smtp.routes[0].provider_id: "],
    ),
    (
        "[database]\nurl = \"postgres://u:p w@h:99999/d\"\n",
        &["postroom.toml:2: database.url: database.url cannot be read"],
    ),
    (
        "[database]\nurl = \"sqlite::memory:\"\n",
        &["postroom.toml:2: database.url: database.url names no file"],
    ),
    ("[database]\nurl = \"sqlite:\"\n", &["postroom.toml:2: database.url: database.url names no file"]),
    (
        "[http]\ntimeout = \"0s\"\npublic_url = \"https://u:pw@x.example/\"\n[render]\nrendered_bytes = 0\n",
        &[
            "postroom.toml:2: http.timeout: must be longer than 0s",
            "postroom.toml:3: http.public_url: must hold no user name",
            "postroom.toml:5: render.rendered_bytes: must be at least 1",
        ],
    ),
    (
        "[http]\npublic_url = \"https://x.example/?q=1\"\n[queue]\nlease = \"1ms\"\n[log]\nfilter = \"inof\"\n",
        &[
            "postroom.toml:2: http.public_url: must end before ?",
            "postroom.toml:4: queue.lease: must be at least 1s",
            "postroom.toml:6: log.filter: `inof`: `inof` is no level; it is a level such as",
        ],
    ),
    (
        "[database]\ncolour = \"red\"\n",
        &["postroom.toml:2: database.colour: unknown field `colour`, expected one of `url`"],
    ),
];

#[test]
fn each_fault_names_the_line_the_key_and_what_is_allowed() {
    for (text, expected) in WRONG {
        let said = load(text, &[]).unwrap_err();
        for fault in expected {
            assert!(said.contains(fault), "{fault}\nis missing for\n{text}\nin\n{said}");
        }
        assert_eq!(said.lines().count(), expected.len() + 1, "{text}\n{said}");
    }
}

#[test]
fn a_file_with_eight_faults_reports_eight() {
    let text: String = WRONG[..5].iter().map(|(text, _)| *text).chain([WRONG[9].0]).collect();
    let said = load(&text, &[("POSTROOM_WORKER__DRAIN", "soon")]).unwrap_err();
    assert_eq!(said.lines().count(), 1 + 8, "{said}");
}

#[test]
fn a_fault_in_a_list_hides_no_other() {
    let text = "dkim = [5]
        [http]\nbar = 2\nlisten = \"x\"
        [callbacks]\nallow_networks = [\"x\", \"10.0.0.0/8\", \"y\"]
        [retry]\nschedule = [\"1m\", \"soon\"]
        [[limits.domains]]\nnames = [\"a.example\", 7]\nrate = \"1/s\"
        [[limits.domains]]\nrate = \"1/s\"
        [[smtp.routes]]\nname = \"m\"\nhost = \"h\"\nport = 1\ntls = \"none\"\nlanes = [\"fast\", \"bulk\"]
        [worker]\nfoo = 1";
    let faults = load(text, &[]).unwrap_err();
    for key in [
        "dkim[0]",
        "http.bar",
        "http.listen",
        "callbacks.allow_networks[0]: must be a network, as in \"10.0.0.0/8\"",
        "callbacks.allow_networks[2]",
        "retry.schedule[1]",
        "limits.domains[0].names[1]",
        "limits.domains[1].names: is missing",
        "smtp.routes[0].lanes[0]",
        "worker.foo",
    ] {
        assert!(faults.contains(&format!(" {key}")), "{key} is missing in:\n{faults}");
    }
    assert_eq!(faults.lines().count(), 1 + 10, "{faults}");
}

#[test]
fn a_merchants_callbacks_may_stay_as_they_are_when_only_the_workers_are_fewer() {
    assert!(load("[worker]\nconcurrency = 3\n[callbacks]\nallow_http = true\n", &[]).is_ok());
}

#[test]
fn a_rate_that_is_none_is_refused_with_its_key_and_what_is_allowed() {
    let text = "[limits]\nmails = \"fast\"\nper_merchant = \"0/s\"\n[http]\nrate = \"1e30/s\"
        [[limits.domains]]\nnames = [\"a.example\"]\nrate = \"5/fortnight\"";
    let faults = load(text, &[]).unwrap_err();
    for (key, wrong) in [
        ("limits.mails", "`fast` is not a rate"),
        ("limits.per_merchant", "`0` is not a count"),
        ("limits.domains[0].rate", "`fortnight` is not a unit of time"),
        ("http.rate", "`1e30` is not a count"),
    ] {
        assert!(faults.contains(&format!("{key}: {wrong}")), "{key} is missing in:\n{faults}");
    }
    assert_eq!(faults.matches("in \"50/s\" or \"3000/h burst 100\"").count(), 4, "{faults}");
    let text = "[[smtp.routes]]\nname = \"m\"\nhost = \"h\"\nport = 1\ntls = \"none\"\nrate = \"-1/s\"
        [[limits.domains]]\nnames = [\"a.example\"]\nrate = \"1/s\"
        [[limits.domains]]\nnames = [\"A.example\"]\nrate = \"2/s\"";
    let faults = load(text, &[]).unwrap_err();
    assert!(faults.contains("smtp.routes[0].rate: `-1` is not a count"), "{faults}");
    assert!(faults.contains("limits.domains[1].names[0]: `a.example` has a limit already"), "{faults}");
}

#[test]
fn limits_can_be_given_in_the_environment() {
    let config = load("", &[("POSTROOM_LIMITS__MAILS", "3000/h burst 100")]).unwrap();
    assert_eq!(config.limits.mails.map(|rate| rate.to_string()).as_deref(), Some("3000/h burst 100"));
    assert!(config.limits.per_merchant.is_none() && config.limits.domains.is_empty());
}
