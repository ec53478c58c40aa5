//! Messages that no state of a connection expects.

use ssh_encoding::{Decode as _, Encode as _};

use crate::parsing::ensure_end;
use crate::server::Session;
use crate::session::EncryptedState;
use crate::sshbuffer::IncomingSshPacket;
use crate::{Disconnect, Error, msg};

impl Session {
    /// Answers a message that the state machine would drop; says whether it was one.
    pub(crate) fn answered_out_of_turn(
        &mut self,
        packet: &IncomingSshPacket,
    ) -> Result<bool, Error> {
        let Some((kind, mut rest)) = packet.buffer.split_first() else {
            return Ok(false);
        };
        let Some(encrypted) = self
            .common
            .encrypted
            .as_mut()
            .filter(|_| !self.kex.active())
        else {
            return Ok(false);
        };
        match (&encrypted.state, *kind) {
            (
                EncryptedState::WaitingAuthServiceRequest { .. }
                | EncryptedState::WaitingAuthRequest(_),
                msg::SERVICE_REQUEST,
            ) => {
                let service = String::decode(&mut rest)?;
                ensure_end(&rest)?;
                if service != "ssh-userauth" {
                    let words = "only the service ssh-userauth is there before login";
                    let reason = Disconnect::ServiceNotAvailable;
                    self.common.disconnect(reason, words, "")?;
                    return Ok(true);
                }
                if matches!(
                    encrypted.state,
                    EncryptedState::WaitingAuthServiceRequest { .. }
                ) {
                    return Ok(false);
                }
                push_packet!(encrypted.write, {
                    encrypted.write.push(msg::SERVICE_ACCEPT);
                    service.encode(&mut encrypted.write)?;
                });
            }
            // RFC 8308: by whoever knows of it, at times that the peer cannot foresee.
            (_, msg::EXT_INFO) => {}
            (
                EncryptedState::WaitingAuthRequest(_),
                msg::USERAUTH_REQUEST | msg::USERAUTH_INFO_RESPONSE,
            )
            | (
                EncryptedState::InitCompression | EncryptedState::Authenticated,
                msg::GLOBAL_REQUEST..=msg::REQUEST_FAILURE
                | msg::CHANNEL_OPEN..=msg::CHANNEL_FAILURE,
            ) => return Ok(false),
            // RFC 4252 §5.1: requests after the success are passed over.
            (
                EncryptedState::InitCompression | EncryptedState::Authenticated,
                msg::USERAUTH_REQUEST..=79,
            ) => {}
            _ => push_packet!(encrypted.write, {
                encrypted.write.push(msg::UNIMPLEMENTED);
                // It counts the packets that were read.
                packet.seqn.0.wrapping_sub(1).encode(&mut encrypted.write)?;
            }),
        }
        self.flush()?;
        Ok(true)
    }
}
