//! What an error of a call to AWS was caused by (pure).

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;

use crate::causes::causes;

/// Says whether there were no credentials to ask with.
pub(super) fn needs_credentials(error: &(dyn Error + 'static)) -> bool {
    causes(error).any(<dyn Error>::is::<CredentialsError>)
}
