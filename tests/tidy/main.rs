//! What the compiler does not check: the import law, homes of foreign crates, purity, sizes, names,
//! links. Each check is a function from texts to complaints, and has a sample that it complains of.

mod checks;
mod samples;
mod shape;

use checks::{
    broken_imports, commits_abroad, crates_abroad, dead_links, empty_names, foreign_words,
    impurities, resolve, too_long, unproved_promises,
};
use shape::{circles, spread_types, unchecked_sums};

/// A text and its path in the repository.
type Text = (String, String);

// ---- the laws ----

/// Modules by level, highest first: imports point down, or sideways without a circle.
const LEVELS: &[&[&str]] = &[
    &["main"],
    &["cli"],
    &["compose"],
    &["gateway", "admin", "migrate", "rehearse"],
    &["ssh"],
    &["exec"],
    &["session", "auth"],
    &["idp", "audit", "reaper"],
    &["vfs", "config"],
    &[
        "sftp",
        "transfer",
        "storage",
        "refusal",
        "allocator",
        "budget",
        "limits",
        "clock",
        "secret",
        "seldom",
        "tasks",
        "aws",
        "endpoint",
        "refreshing",
        "causes",
        "spelling",
        "metrics",
        "telemetry",
    ],
];

/// Imports that break the law for a reason; one that is no longer there is a complaint too.
const IMPORT_EXCEPTIONS: &[(&str, &str)] = &[];

/// Where no file imports itself through others.
const NO_CIRCLES: &[&str] = &["src/exec/", "src/session/", "src/ssh/"];

/// Circles of files that are left; they may only shrink.
const CIRCLES: &[&[&str]] = &[
    &["src/admin/mod.rs", "src/admin/server.rs"],
    &["src/auth/attempt.rs", "src/auth/throttle.rs"],
    &[
        "src/cli/admin.rs",
        "src/cli/check_config.rs",
        "src/cli/chosen_listener.rs",
        "src/cli/completions.rs",
        "src/cli/contract/mod.rs",
        "src/cli/contract/slow.rs",
        "src/cli/contract/trials.rs",
        "src/cli/explain/mod.rs",
        "src/cli/explain/rehearsal.rs",
        "src/cli/hash_password.rs",
        "src/cli/migrate/configured.rs",
        "src/cli/migrate/files.rs",
        "src/cli/migrate/mod.rs",
        "src/cli/mod.rs",
        "src/cli/probe/file.rs",
        "src/cli/probe/login.rs",
        "src/cli/probe/mod.rs",
        "src/cli/quickstart.rs",
        "src/cli/rehearse/mod.rs",
        "src/cli/secrets.rs",
        "src/cli/serve.rs",
        "src/cli/signals.rs",
        "src/cli/store_probe.rs",
        "src/cli/test_identity_provider/examine.rs",
        "src/cli/test_identity_provider/mod.rs",
        "src/cli/test_identity_provider/report.rs",
    ],
    &[
        "src/config/check/identity.rs",
        "src/config/check/listeners.rs",
        "src/config/check/mod.rs",
        "src/config/check/roles.rs",
        "src/config/check/stores.rs",
        "src/config/mod.rs",
        "src/config/settings.rs",
        "src/config/source.rs",
        "src/config/value.rs",
    ],
    &[
        "src/idp/token/judge.rs",
        "src/idp/token/jwks.rs",
        "src/idp/token/keys.rs",
        "src/idp/token/mod.rs",
        "src/idp/token/template.rs",
    ],
    &["src/idp/webhook.rs", "src/idp/webhook/body.rs"],
    &[
        "src/idp/wire/mod.rs",
        "src/idp/wire/plain.rs",
        "src/idp/wire/transfer.rs",
    ],
    &["src/metrics/admin.rs", "src/metrics/mod.rs"],
    &["src/sftp/frame.rs", "src/sftp/request.rs"],
    &[
        "src/storage/memory/listing.rs",
        "src/storage/memory/mod.rs",
        "src/storage/memory/uploads.rs",
    ],
    &[
        "src/transfer/read_file/check.rs",
        "src/transfer/read_file/held.rs",
        "src/transfer/read_file/mod.rs",
    ],
];

/// In how many files a type may have methods of its own.
const FILES_PER_TYPE_MAX: usize = 2;

/// Types that have methods in more files; they may only shrink.
const SPREAD: &[(&str, usize)] = &[("S3Store of src/storage/s3/mod.rs", 4)];

/// The one place of each foreign crate that stands for a boundary.
const HOMES: &[(&str, &[&str])] = &[
    ("russh", &["src/ssh/"]),
    ("russh_original", &["src/cli/probe/"]),
    ("russh_sftp", &["src/cli/probe/"]),
    (
        "aws_config",
        &["src/aws.rs", "src/storage/", "src/idp/aws.rs"],
    ),
    (
        "aws_credential_types",
        &[
            "src/aws.rs",
            "src/storage/",
            "src/idp/aws.rs",
            "src/idp/sigv4.rs",
        ],
    ),
    ("aws_sdk_s3", &["src/storage/"]),
    ("aws_sdk_sts", &["src/storage/credentials/"]),
    (
        "rustix",
        &["src/storage/directory/", "src/compose/open_files.rs"],
    ),
    ("tikv_jemallocator", &["src/allocator.rs"]),
    ("tikv_jemalloc_ctl", &["src/allocator.rs"]),
    ("aws_sigv4", &["src/idp/sigv4.rs", "src/storage/s3/direct/"]),
    (
        "aws_smithy_http_client",
        &["src/aws.rs", "src/storage/", "src/idp/aws.rs"],
    ),
    ("aws_smithy_runtime_api", &["src/aws.rs", "src/storage/"]),
    ("aws_smithy_types", &["src/storage/"]),
    ("reqwest", &["src/idp/webhook", "src/idp/token/"]),
    ("jsonwebtoken", &["src/idp/signature", "src/idp/token/"]),
    ("httparse", &["src/idp/http1/answer.rs"]),
    ("percent_encoding", &["src/idp/http1/request.rs"]),
    ("rustls", &["src/idp/http1/mod.rs", "src/admin/tls.rs"]),
    ("rustls_platform_verifier", &["src/idp/http1/mod.rs"]),
    (
        "tokio_rustls",
        &["src/idp/http1/mod.rs", "src/admin/tls.rs"],
    ),
    ("moka", &["src/idp/cache"]),
    ("clap", &["src/cli/", "src/main.rs"]),
    ("clap_complete", &["src/cli/completions.rs"]),
    (
        "hyper",
        &[
            "src/admin/",
            "src/cli/admin.rs",
            "src/cli/bundled_webhook.rs",
            "src/storage/s3/",
        ],
    ),
    (
        "hyper_util",
        &[
            "src/admin/",
            "src/cli/admin.rs",
            "src/cli/bundled_webhook.rs",
            "src/aws.rs",
        ],
    ),
    ("prometheus_client", &["src/metrics"]),
    (
        "tracing_subscriber",
        &["src/telemetry.rs", "src/telemetry/"],
    ),
    ("toml", &["src/config/", "src/idp/static_file/"]),
    ("argon2", &["src/idp/static_file/"]),
    ("bcrypt", &["src/idp/static_file/"]),
    ("rpassword", &["src/cli/hash_password.rs"]),
    ("proxy_header", &["src/ssh/proxy.rs"]),
    ("socket2", &["src/ssh/"]),
    ("embedded_s3", &["src/cli/quickstart"]),
];

const PURE: &[&str] = &[
    "src/migrate/",
    "src/rehearse/",
    "src/auth/admission.rs",
    "src/budget/line.rs",
    "src/exec/command.rs",
    "src/exec/record.rs",
    "src/exec/sum.rs",
    "src/exec/wildcard.rs",
    "src/exec/words.rs",
    "src/session/copied.rs",
    "src/session/known.rs",
    "src/session/status.rs",
    "src/idp/network.rs",
    "src/idp/places/queue.rs",
    "src/ssh/early.rs",
    "src/ssh/hello.rs",
    "src/storage/credentials/session_name.rs",
    "src/storage/nonce.rs",
    "src/storage/part_layout.rs",
    "src/storage/retry/policy.rs",
    "src/vfs/",
    "src/sftp/",
    "src/transfer/",
    "src/refusal/",
    "src/session/plan.rs",
    "src/session/order.rs",
    "src/idp/wire",
    "src/endpoint.rs",
    "src/idp/failure.rs",
    "src/idp/warning.rs",
    "src/idp/api_gateway/request.rs",
    "src/idp/http1/answer.rs",
    "src/idp/http1/request.rs",
    "src/idp/lambda/error.rs",
    "src/idp/service_managed/fault.rs",
    "src/idp/service_managed/file_name.rs",
    "src/admin/aws/server_settings.rs",
    "src/idp/service_managed/rules.rs",
    "src/idp/service_managed/user.rs",
    "src/idp/static_file/field.rs",
    "src/idp/static_file/parse.rs",
    "src/idp/breaker/state.rs",
    "src/idp/webhook/reach.rs",
    "src/idp/token/judge.rs",
    "src/idp/token/keys.rs",
    "src/idp/token/template.rs",
    "src/auth/keys.rs",
    "src/ssh/places.rs",
    "src/ssh/proxy.rs",
    "src/ssh/window.rs",
    "src/metrics/exposition.rs",
    "src/telemetry/room.rs",
    "src/telemetry/text.rs",
];

const IMPURE: &[&str] = &[
    "async fn",
    "async move",
    ".await",
    "tokio::",
    "Instant::now",
    "SystemTime::now",
    "std::env",
    "std::fs",
    "std::thread",
    "TcpStream",
];

const LINES_MAX: usize = 700;

/// Files that are longer than they should be; they may only shrink.
const LONGER: &[(&str, usize)] = &[];

const BANNED_WORDS: &[&str] = &[
    "Manager",
    "Helper",
    "Helpers",
    "Util",
    "Utils",
    "Common",
    "Handler",
    "Processor",
    "Service",
    "Wrapper",
    "Impl",
    "Factory",
    "Data",
    "Info",
    "Context",
    "Ctx",
    "Backend",
    "Misc",
];

/// What AWS calls a thing is what it is called here.
const NAMES_OF_AWS: &[&str] = &["ServiceManaged", "service_managed"];

/// What says where the text was written rather than what it is about.
const FOREIGN_TO_A_REPOSITORY: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("../sha", "red"),
    concat!("pypi", ".org"),
    concat!("pythonhosted", ".org"),
    concat!("npmjs", ".org"),
    concat!("static.crates", ".io"),
    concat!("index.crates", ".io"),
    concat!("proxy.golang", ".org"),
    concat!("arti", "factory"),
];

#[test]
fn imports_point_down() {
    let sources = sources();
    assert_clean(&broken_imports(&sources, LEVELS, IMPORT_EXCEPTIONS));
}

#[test]
fn files_import_no_circles() {
    assert_clean(&circles(&sources(), NO_CIRCLES, CIRCLES));
}

#[test]
fn types_have_a_file_of_their_own() {
    assert_clean(&spread_types(&sources(), FILES_PER_TYPE_MAX, SPREAD));
}

#[test]
fn foreign_crates_stay_at_home() {
    assert_clean(&crates_abroad(&sources(), HOMES));
}

#[test]
fn commits_have_one_door() {
    assert_clean(&commits_abroad(&sources(), "src/session/commit.rs"));
}

#[test]
fn pure_modules_have_no_effects() {
    assert_clean(&impurities(&sources(), PURE));
}

#[test]
fn pure_modules_check_their_sums() {
    assert_clean(&unchecked_sums(&sources(), PURE));
}

#[test]
fn files_are_short() {
    let rust = repository(|path| path.ends_with(".rs"));
    assert_clean(&too_long(&rust, LONGER));
}

#[test]
fn names_say_something() {
    let rust = repository(|path| path.ends_with(".rs") && !path.starts_with("tests/"));
    assert_clean(&empty_names(&rust));
}

#[test]
fn links_of_documents_lead_somewhere() {
    let documents = repository(|path| path.ends_with(".md"));
    let files = repository(|_| true).into_iter().map(|(path, _)| path);
    assert_clean(&dead_links(&documents, &files.collect()));
}

#[test]
fn every_promise_names_its_tests() {
    let rust = repository(|path| path.ends_with(".rs"));
    for (_, text) in repository(|path| path == "docs/semantics.md") {
        assert_clean(&unproved_promises(&text, &rust));
    }
}

#[test]
fn the_repository_speaks_of_itself_alone() {
    assert_clean(&foreign_words(&repository(|path| path != "Cargo.lock")));
}

// ---- reading ----

fn assert_clean(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

fn sources() -> Vec<Text> {
    let is_source = |path: &str| path.starts_with("src/") && path.ends_with(".rs");
    repository(|path| is_source(path) && !path.ends_with("/tests.rs"))
}

/// Returns the files of the repository that are text, without what is built or ignored.
fn repository(wanted: impl Fn(&str) -> bool) -> Vec<Text> {
    let root = env!("CARGO_MANIFEST_DIR");
    let mut found = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(format!("{root}/{folder}")).expect("a folder can be read");
        for entry in entries {
            let entry = entry.expect("a folder can be read");
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = resolve(&folder, &name);
            let kind = entry.file_type().expect("a file has a type");
            if matches!(&*name, "target" | ".git" | ".venv" | "__pycache__") {
                continue;
            }
            if kind.is_dir() {
                folders.push(path);
            } else if wanted(&path)
                && let Ok(text) = std::fs::read_to_string(format!("{root}/{path}"))
            {
                found.push((path, text));
            }
        }
    }
    found.sort();
    found
}
