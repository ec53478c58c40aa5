//! What an answer means (pure): from the bytes of an identity provider to a verdict.
//!
//! Two forms are understood and told apart by their keys: the plain one has `allow`, Transfer
//! Family's has `Role`. The plain form is strict, since a typo there must not widen access;
//! Transfer Family's is as tolerant as the functions in the field need, because it is theirs.

#![warn(clippy::arithmetic_side_effects)]

use self::json::{Json, Object};
use self::keys::Keys;
use self::substitute::PolicyValues;
use super::failure::by_status;
use super::{AuthMethod, Judged, Oddity, PathHomes, UserConfig, Warning};
use crate::causes::harmless;
use crate::limits;
use crate::refusal::{Reason, Refusal};
use crate::vfs::{MappingError, PartialUploads};

pub(super) mod json;
pub(super) mod keys;
mod objects;
mod pem;
mod plain;
mod python;
mod rows;
pub(super) mod substitute;
pub mod timestamp;
mod transfer;

/// What was asked: an answer means something only together with it.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    pub username: &'a str,
    pub method: AuthMethod,
    /// Takes a password answer that lists keys, for functions that always return them.
    pub accept_keys_with_password: bool,
    pub path_homes: PathHomes,
    /// File systems that are served, by their ids: targets on others are passed over.
    pub fs_ids: &'a [Box<str>],
    pub transport: Transport,
    /// The function ended in an error (Lambda's `X-Amz-Function-Error`).
    pub function_error: bool,
}

/// How the answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Http,
    Lambda,
}

/// Understands an answer.
///
/// # Errors
/// The answer lets nobody in: *invalid* says yes in a way that cannot be used, *unavailable* is no
/// answer.
pub fn parse(asked: Asked<'_>, status: u16, body: &[u8]) -> Judged {
    if body.len() > limits::ANSWER_BYTES_MAX {
        return Err(Reason::AnswerTooLarge.because("the body is too long"));
    }
    if asked.function_error {
        return Err(match json::parse(body) {
            Ok(Json::Object(answer)) => function_error(&answer),
            Ok(_) | Err(_) => Reason::FunctionError.into(),
        });
    }
    match (status, asked.transport) {
        (200, _) => {}
        (401 | 403, Transport::Http) => {
            let hint = format!(
                "the status was {status}; to deny a user answer 200 and {{\"allow\": false}}"
            );
            return Err(Reason::StatusDenied.because(&hint));
        }
        (300..=399, Transport::Http) => {
            let detail = format!("the status was {status}; redirects are not followed");
            return Err(Reason::Redirect.because(&detail));
        }
        (other, Transport::Http | Transport::Lambda) => {
            return Err(by_status(other).because(&format!("the status was {other}")));
        }
    }
    if body.trim_ascii().is_empty() {
        return Err(Reason::EmptyAnswer.into());
    }
    match json::parse(body) {
        Ok(Json::Null) => Err(Reason::EmptyAnswer.into()),
        Ok(Json::Object(answer)) if answer.is_empty() => Err(Reason::EmptyAnswer.into()),
        Ok(Json::Object(answer)) if is_function_error(&answer) => Err(function_error(&answer)),
        Ok(Json::Object(answer)) => {
            match (answer.contains_key("allow"), answer.contains_key("Role")) {
                (true, true) => Err(Reason::TwoContracts.because("both \"allow\" and \"Role\"")),
                (true, false) => plain::read(asked, answer),
                (false, _) => transfer::read(asked, answer),
            }
        }
        Ok(other) => Err(Reason::NotAnObject.because(other.kind())),
        Err(json::Fault::Syntax) => Err(not_json(body)),
        Err(fault) => Err(fault.reason().because(&fault.to_string())),
    }
}

/// Refuses an answer that is compressed, or in another way not the text that was asked for.
pub(in crate::idp) fn encoded(how: &str) -> Refusal {
    Reason::AnswerEncoded.because(&format!("the gateway did not ask for it: {how}"))
}

/// Says what the body is, if it can be told.
fn not_json(body: &[u8]) -> Refusal {
    const MAGIC: [(&[u8], &str); 2] = [
        (&[0x1f, 0x8b], "the body begins like gzip"),
        (&[0x28, 0xb5, 0x2f, 0xfd], "the body begins like zstd"),
    ];
    if let Some((_, how)) = MAGIC.iter().find(|(magic, _)| body.starts_with(magic)) {
        return encoded(how);
    }
    let python = str::from_utf8(body).ok().and_then(python::as_json);
    let is_python = python.is_some_and(|text| json::parse(text.as_bytes()).is_ok());
    Reason::NotJson.because(if is_python {
        "the body is a dict as Python prints it: write it with json.dumps()"
    } else {
        "the body is not JSON"
    })
}

/// Holds an answer that says yes, and the keys that it lists, against the method it was asked for.
fn conclude(asked: Asked<'_>, mut config: UserConfig, listed: Keys) -> Judged {
    match asked.method {
        AuthMethod::PublicKey => {
            let unreadable = unreadable(&listed);
            if listed.keys.is_empty() {
                return Err(match unreadable {
                    Some(detail) => Reason::NoUsablePublicKey.because(&detail),
                    None => Reason::NoUsablePublicKey.into(),
                });
            }
            if let Some(detail) = unreadable {
                config
                    .warnings
                    .push(Oddity::KeysUnreadable.because(&detail));
            }
            if !listed.forms.is_empty() {
                let forms: Vec<_> = listed.forms.into_iter().collect();
                let forms = forms.join(", ");
                config.warnings.push(Oddity::KeysNotInLines.because(&forms));
            }
            config.public_keys = listed.keys;
        }
        // The handler may have taken this for a key look-up and checked no password at all.
        AuthMethod::Password if listed.has_text && !asked.accept_keys_with_password => {
            return Err(Reason::KeysInPasswordAnswer.because(
                "the answer to a password lists public keys; the service may not have \
                          checked the password",
            ));
        }
        AuthMethod::Password if !listed.has_text && listed.has_blanks => {
            config.warnings.push(Oddity::PublicKeysOnPassword.into());
        }
        AuthMethod::Password => {}
    }
    let warning = unknown_class(&config);
    config.warnings.extend(warning);
    Ok(config.into())
}

/// Warns of the first storage class that AWS does not have.
pub(super) fn unknown_class(config: &UserConfig) -> Option<Warning> {
    let settings = config.object_settings().map(|(_, settings)| settings);
    let class = settings
        .filter(|settings| !settings.has_class_of_aws())
        .find_map(|settings| settings.storage_class.as_deref())?;
    Some(Oddity::StorageClassUnknown.because(&format!("{class:?}")))
}

/// Names the keys that cannot be read, as many as have room in a line.
fn unreadable(listed: &Keys) -> Option<String> {
    const NAMED_MAX: usize = 5;
    let count = listed.unreadable.len();
    let named: Vec<_> = listed.unreadable.iter().take(NAMED_MAX).cloned().collect();
    let named = named.join("; ");
    match count {
        0 => None,
        1..=NAMED_MAX => Some(named),
        more => Some(format!("{more} keys cannot be read: {named}; …")),
    }
}

/// Checks a role: text for logs and STS.
pub(super) fn role(text: &str) -> Result<Box<str>, Refusal> {
    if text.chars().count() > limits::ROLE_CHARS_MAX || text.chars().any(char::is_control) {
        return Err(Reason::Role.because("the role is too long or has a control character"));
    }
    Ok(text.into())
}

/// Fills the user's name into a policy, and checks what comes out.
pub(super) fn policy_for(text: &str, user: &str) -> Result<Box<str>, Refusal> {
    let values = PolicyValues { user, home: None };
    policy(substitute::policy(text, values)?)
}

/// Checks a policy after substitution.
pub(super) fn policy(text: String) -> Result<Box<str>, Refusal> {
    let length = text.chars().count();
    if length > limits::POLICY_CHARS_MAX {
        let detail = format!(
            "{length} characters, at most {} are allowed",
            limits::POLICY_CHARS_MAX
        );
        return Err(Reason::PolicyTooLong.because(&detail));
    }
    match json::parse(text.as_bytes()) {
        Ok(Json::Object(_)) => Ok(text.into()),
        Ok(other) => Err(Reason::PolicyNotAnObject.because(other.kind())),
        // It would be exact to read it, but AWS does not, and a policy is no place for surprises.
        Err(json::Fault::Syntax) if python::as_json(&text).is_some() => Err(Reason::PolicyNotJson
            .because("it is a dict as Python prints it: write it with json.dumps()")),
        Err(fault) => Err(Reason::PolicyNotJson.because(&fault.to_string())),
    }
}

/// Says whether a template of API Gateway passed the error of its function on as an answer, as all
/// do that do not look for one: status 200 and Lambda's own keys.
fn is_function_error(answer: &Object) -> bool {
    let is_text = |key| matches!(answer.get(key), Some(Json::Text(_)));
    let says_yes = answer.contains_key("Role") || answer.contains_key("allow");
    !says_yes && is_text(MESSAGE) && (is_text(ERROR_TYPE) || was_timed_out(answer))
}

/// Says what a function ended in. Its message may repeat the question.
fn function_error(answer: &Object) -> Refusal {
    match answer.get(ERROR_TYPE) {
        Some(Json::Text(name)) if was_cut_by_lambda(name) => {
            Reason::FunctionCrashed.because(&excerpt(name))
        }
        Some(Json::Text(name)) => Reason::FunctionError.because(&excerpt(name)),
        Some(_) | None if was_timed_out(answer) => {
            Reason::FunctionCrashed.because("the function timed out")
        }
        Some(_) | None => Reason::FunctionError.into(),
    }
}

const ERROR_TYPE: &str = "errorType";
const MESSAGE: &str = "errorMessage";

/// Says whether the function's time was over, where Lambda says so in a message alone.
fn was_timed_out(answer: &Object) -> bool {
    let Some(Json::Text(message)) = answer.get(MESSAGE) else {
        return false;
    };
    !answer.contains_key(ERROR_TYPE) && message.contains("Task timed out after ")
}

/// Says whether Lambda itself ended the function or could not start it, as the name of the error
/// tells: then the function has said nothing about the user.
fn was_cut_by_lambda(error_type: &str) -> bool {
    // Node's name for an exception that the function let go.
    const RAISED: &str = "Runtime.UnhandledPromiseRejection";
    let of_lambda = ["Sandbox.", "Extension.", "Runtime."];
    error_type != RAISED && of_lambda.iter().any(|kind| error_type.starts_with(kind))
}

/// Shortens a foreign text for the log and makes it one line.
fn excerpt(text: &str) -> Box<str> {
    const CHARS_MAX: usize = 200;
    harmless(text, CHARS_MAX).into()
}

/// Reads what is to become of a file whose client disconnects before CLOSE.
fn partial_uploads(word: Option<String>) -> Result<Option<PartialUploads>, Refusal> {
    let Some(word) = word else {
        return Ok(None);
    };
    let unknown = || {
        let (found, allowed) = (excerpt(&word), PartialUploads::ALLOWED);
        Reason::PartialUploads.because(&format!(
            "{PARTIAL_UPLOADS} {found:?} is not one of {allowed}"
        ))
    };
    PartialUploads::from_word(&word)
        .map(Some)
        .ok_or_else(unknown)
}

/// The key under which both forms say it.
const PARTIAL_UPLOADS: &str = "partialUploads";

fn broken(error: &MappingError) -> Refusal {
    error.reason().because(&error.to_string())
}

fn wrong_type(key: &str, expected: &str, found: &Json) -> Refusal {
    Reason::WrongType.because(&format!(
        "{key:?} must be {expected}, found {}",
        found.kind()
    ))
}
