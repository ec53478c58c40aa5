//! A provider in memory that records what it was asked.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use portcullis::idp::wire::{self, Asked, Transport};
use portcullis::idp::{Credential, IdentityProvider, Judged, Question};
use portcullis::refusal::Reason;
use serde_json::Value;
use tokio::sync::Semaphore;

/// Stands for a status where no connection comes about.
const GONE: u16 = 0;

/// Answers through the real parser: with the next scripted body, or with the standing one.
#[derive(Debug)]
pub(crate) struct RecordingProvider {
    standing: Mutex<Value>,
    standing_status: Mutex<u16>,
    script: Mutex<VecDeque<(u16, Value)>>,
    asked: Mutex<Vec<Call>>,
    /// Questions wait here while the test holds them back.
    gate: Semaphore,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) username: String,
    pub(crate) password: Option<String>,
    pub(crate) request_id: String,
}

impl RecordingProvider {
    pub(crate) fn new(standing: Value) -> Arc<Self> {
        super::suite_log::begin();
        Arc::new(Self {
            standing: Mutex::new(standing),
            standing_status: Mutex::new(200),
            script: Mutex::default(),
            asked: Mutex::default(),
            gate: Semaphore::new(Semaphore::MAX_PERMITS),
        })
    }

    pub(crate) fn answer_from_now_on(&self, standing: Value) {
        *self.standing.lock().unwrap() = standing;
    }

    /// Answers every question with this status and nothing.
    pub(crate) fn fail_from_now_on(&self, status: u16) {
        *self.standing_status.lock().unwrap() = status;
        self.answer_from_now_on(Value::Null);
    }

    /// Answers again after [`Self::fail_from_now_on`].
    pub(crate) fn succeed_from_now_on(&self, standing: Value) {
        *self.standing_status.lock().unwrap() = 200;
        self.answer_from_now_on(standing);
    }

    pub(crate) fn then(&self, status: u16, body: Value) {
        self.script.lock().unwrap().push_back((status, body));
    }

    /// Cannot be reached at the next question.
    pub(crate) fn then_gone(&self) {
        self.then(GONE, Value::Null);
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.asked.lock().unwrap().clone()
    }

    pub(crate) fn hold(&self) {
        self.gate.forget_permits(Semaphore::MAX_PERMITS);
    }

    pub(crate) fn release(&self) {
        self.gate.add_permits(Semaphore::MAX_PERMITS);
    }
}

#[async_trait]
impl IdentityProvider for RecordingProvider {
    async fn ask(&self, question: &Question) -> Judged {
        let password = match &question.credential {
            Credential::Password(password) => Some(password.expose().to_owned()),
            Credential::PublicKey => None,
        };
        self.asked.lock().unwrap().push(Call {
            username: question.username.to_string(),
            password,
            request_id: question.request_id.to_string(),
        });
        let scripted = self.script.lock().unwrap().pop_front();
        drop(self.gate.acquire().await.unwrap());
        let standing = || {
            let status = *self.standing_status.lock().unwrap();
            (status, self.standing.lock().unwrap().clone())
        };
        let (status, mut body) = scripted.unwrap_or_else(standing);
        if status == GONE {
            return Err(Reason::Connect.because("connection refused"));
        }
        // One standing answer serves both methods.
        if question.credential.method() == portcullis::idp::AuthMethod::Password
            && let Some(answer) = body.as_object_mut()
        {
            answer.remove("publicKeys");
        }
        let asked = Asked {
            username: &question.username,
            method: question.credential.method(),
            accept_keys_with_password: false,
            path_homes: portcullis::idp::PathHomes::default(),
            fs_ids: &[],
            transport: Transport::Http,
            function_error: false,
        };
        wire::parse(asked, status, body.to_string().as_bytes())
    }
}
