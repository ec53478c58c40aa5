//! Multipart uploads in memory.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};

use super::{MemoryStore, State, etag_of, honoured, refusal, size_of};
use crate::limits;
use crate::storage::{
    Checksum, CompleteUpload, CompletedPart, ETag, Location, NewObject, Operation, PartNumber,
    Result, StorageErrorKind, Stored, UploadId,
};

#[derive(Debug)]
pub(super) struct Upload {
    pub(super) location: Location,
    object: NewObject,
    parts: BTreeMap<PartNumber, Bytes>,
}

impl MemoryStore {
    pub(super) fn begin_upload(&self, location: &Location, object: &NewObject) -> Result<UploadId> {
        let mut state = self.state();
        state.objects(&location.bucket, Operation::Create)?;
        state.uploads_begun += 1;
        let id = format!("upload-{:06}", state.uploads_begun);
        let upload = Upload {
            location: location.clone(),
            object: object.clone(),
            parts: BTreeMap::new(),
        };
        state.uploads.insert(id.clone(), upload);
        Ok(UploadId(id.into()))
    }

    pub(super) fn keep_part(
        &self,
        call: (Operation, &Location),
        id: &UploadId,
        number: PartNumber,
        payload: Bytes,
    ) -> Result<CompletedPart> {
        let numbered = (1..=limits::PARTS_MAX).contains(&number.0);
        if !numbered || size_of(&payload) > limits::PART_BYTES_MAX {
            return Err(refusal(call, StorageErrorKind::Refused));
        }
        let mut state = self.state();
        let upload = state.upload(call, id)?;
        let part = self.confirmed(number, &payload);
        upload.parts.insert(number, payload);
        Ok(part)
    }

    pub(super) fn kept_parts(
        &self,
        location: &Location,
        id: &UploadId,
    ) -> Result<Vec<CompletedPart>> {
        let mut state = self.state();
        let upload = state.upload((Operation::Parts, location), id)?;
        let parts = upload.parts.iter();
        Ok(parts
            .map(|(number, payload)| self.confirmed(*number, payload))
            .collect())
    }

    pub(super) fn finish_upload(
        &self,
        location: &Location,
        complete: CompleteUpload<'_>,
    ) -> Result<Stored> {
        let call = (Operation::Complete, location);
        let (id, parts) = (complete.upload, complete.parts);
        let mut state = self.state();
        let upload = state.upload(call, id)?;
        let payload = self
            .assembled(upload, parts)
            .map_err(|kind| refusal(call, kind))?;
        if let Some(checksum) = complete.checksum {
            self.check(checksum, &payload, call)?;
        }
        let ETag(of_parts) = etag_of(&payload);
        let etag = ETag(format!("{}-{}\"", of_parts.trim_end_matches('"'), parts.len()).into());
        let object = self.new_object(payload, etag, &upload.object);
        let condition = honoured(self.capabilities.conditional_complete, complete.condition);
        let stored = state.place(call, object, condition)?;
        state.uploads.remove(&*id.0);
        Ok(stored)
    }

    /// Joins the parts that the caller names, under S3's rules for an upload with checksums.
    fn assembled(
        &self,
        upload: &Upload,
        parts: &[CompletedPart],
    ) -> std::result::Result<Bytes, StorageErrorKind> {
        if parts.is_empty() {
            return Err(StorageErrorKind::Refused);
        }
        let mut whole = BytesMut::new();
        for (expected, part) in (1..).zip(parts) {
            let kept = upload
                .parts
                .get(&part.number)
                .ok_or(StorageErrorKind::Refused)?;
            let last = parts.len() == usize::try_from(expected).unwrap_or(usize::MAX);
            let too_small = !last && size_of(kept) < self.part_bytes_min;
            if part.number != PartNumber(expected) || part.etag != etag_of(kept) || too_small {
                return Err(StorageErrorKind::Refused);
            }
            if part.checksum.is_some_and(|sum| sum != Checksum::of(kept)) {
                return Err(StorageErrorKind::ChecksumMismatch);
            }
            whole.extend_from_slice(kept);
        }
        Ok(whole.freeze())
    }

    fn confirmed(&self, number: PartNumber, payload: &Bytes) -> CompletedPart {
        CompletedPart {
            number,
            etag: etag_of(payload),
            checksum: self.capabilities.checksums.then(|| Checksum::of(payload)),
            size: size_of(payload),
        }
    }
}

impl State {
    fn upload(&mut self, call: (Operation, &Location), id: &UploadId) -> Result<&mut Upload> {
        let (operation, location) = call;
        self.objects(&location.bucket, operation)?;
        let upload = self.uploads.get_mut(&*id.0);
        upload
            .filter(|upload| upload.location == *location)
            .ok_or_else(|| refusal(call, StorageErrorKind::NoSuchUpload))
    }
}
