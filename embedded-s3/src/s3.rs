//! The S3 operations, as the protocol adapter calls them.

use std::sync::Arc;

use hyper::StatusCode;
use s3s::auth::{S3Auth, SecretKey};
use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, Bucket, CompleteMultipartUploadInput,
    CompleteMultipartUploadOutput, CopyObjectInput, CopyObjectOutput, CreateBucketInput,
    CreateBucketOutput, CreateMultipartUploadInput, CreateMultipartUploadOutput, DeleteBucketInput,
    DeleteBucketOutput, DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput,
    DeleteObjectsOutput, GetBucketLocationInput, GetBucketLocationOutput, GetBucketVersioningInput,
    GetBucketVersioningOutput, GetObjectInput, GetObjectOutput, GetObjectTaggingInput,
    GetObjectTaggingOutput, HeadBucketInput, HeadBucketOutput, HeadObjectInput, HeadObjectOutput,
    ListBucketsInput, ListBucketsOutput, ListMultipartUploadsInput, ListMultipartUploadsOutput,
    ListObjectVersionsInput, ListObjectVersionsOutput, ListObjectsInput, ListObjectsOutput,
    ListObjectsV2Input, ListObjectsV2Output, ListPartsInput, ListPartsOutput,
    PutBucketVersioningInput, PutBucketVersioningOutput, PutObjectInput, PutObjectOutput,
    UploadPartCopyInput, UploadPartCopyOutput, UploadPartInput, UploadPartOutput,
};
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};

use crate::listing::owner;
use crate::store::Store;

/// The store as the protocol adapter sees it.
#[derive(Debug)]
pub(crate) struct Operations(pub(crate) Arc<Store>);

/// The one pair of keys that is let in.
pub(crate) struct Keys {
    pub(crate) access_key: String,
    pub(crate) secret_key: SecretKey,
}

#[async_trait::async_trait]
impl S3Auth for Keys {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        if access_key == self.access_key {
            return Ok(self.secret_key.clone());
        }
        Err(s3_error!(InvalidAccessKeyId))
    }
}

/// Forwards an operation that does not wait to the method of the store that carries it out.
macro_rules! operations {
    ($($name:ident($input:ty) -> $output:ty = $method:ident;)*) => {
        #[async_trait::async_trait]
        impl S3 for Operations {
            $(async fn $name(&self, request: S3Request<$input>) -> S3Result<S3Response<$output>> {
                self.0.$method(request.input).map(S3Response::new)
            })*

            async fn put_object(
                &self,
                request: S3Request<PutObjectInput>,
            ) -> S3Result<S3Response<PutObjectOutput>> {
                self.0.put_object(request).await.map(S3Response::new)
            }

            async fn upload_part(
                &self,
                request: S3Request<UploadPartInput>,
            ) -> S3Result<S3Response<UploadPartOutput>> {
                self.0.upload_part(request).await.map(S3Response::new)
            }

            async fn head_object(
                &self,
                request: S3Request<HeadObjectInput>,
            ) -> S3Result<S3Response<HeadObjectOutput>> {
                let output = self.0.head_object(request.input)?;
                let is_part = output.content_range.is_some();
                let status = is_part.then_some(StatusCode::PARTIAL_CONTENT);
                let answer = S3Response::new(output);
                Ok(S3Response { status, ..answer })
            }

            async fn copy_object(
                &self,
                request: S3Request<CopyObjectInput>,
            ) -> S3Result<S3Response<CopyObjectOutput>> {
                self.0.copy_object(request).map(S3Response::new)
            }
        }
    };
}

operations! {
    abort_multipart_upload(AbortMultipartUploadInput) -> AbortMultipartUploadOutput = abort_upload;
    complete_multipart_upload(CompleteMultipartUploadInput) -> CompleteMultipartUploadOutput = complete_upload;
    create_bucket(CreateBucketInput) -> CreateBucketOutput = create_bucket;
    create_multipart_upload(CreateMultipartUploadInput) -> CreateMultipartUploadOutput = create_upload;
    delete_bucket(DeleteBucketInput) -> DeleteBucketOutput = delete_bucket;
    delete_object(DeleteObjectInput) -> DeleteObjectOutput = delete_object;
    delete_objects(DeleteObjectsInput) -> DeleteObjectsOutput = delete_objects;
    get_bucket_location(GetBucketLocationInput) -> GetBucketLocationOutput = bucket_location;
    get_object(GetObjectInput) -> GetObjectOutput = get_object;
    get_object_tagging(GetObjectTaggingInput) -> GetObjectTaggingOutput = object_tagging;
    head_bucket(HeadBucketInput) -> HeadBucketOutput = head_bucket;
    list_buckets(ListBucketsInput) -> ListBucketsOutput = list_buckets;
    list_multipart_uploads(ListMultipartUploadsInput) -> ListMultipartUploadsOutput = list_uploads;
    get_bucket_versioning(GetBucketVersioningInput) -> GetBucketVersioningOutput = versioning;
    list_object_versions(ListObjectVersionsInput) -> ListObjectVersionsOutput = list_versions;
    put_bucket_versioning(PutBucketVersioningInput) -> PutBucketVersioningOutput = set_versioning;
    list_objects(ListObjectsInput) -> ListObjectsOutput = list_objects;
    list_objects_v2(ListObjectsV2Input) -> ListObjectsV2Output = list_objects_v2;
    list_parts(ListPartsInput) -> ListPartsOutput = list_parts;
    upload_part_copy(UploadPartCopyInput) -> UploadPartCopyOutput = upload_part_copy;
}

impl Store {
    fn create_bucket(&self, input: CreateBucketInput) -> S3Result<CreateBucketOutput> {
        let CreateBucketInput { bucket, .. } = input;
        self.create(&bucket)?;
        Ok(CreateBucketOutput {
            location: Some(format!("/{bucket}")),
        })
    }

    fn delete_bucket(&self, input: DeleteBucketInput) -> S3Result<DeleteBucketOutput> {
        let bucket = input.bucket;
        self.remove(&bucket)?;
        Ok(DeleteBucketOutput {})
    }

    fn head_bucket(&self, input: HeadBucketInput) -> S3Result<HeadBucketOutput> {
        let bucket = input.bucket;
        self.bucket(&bucket)?;
        Ok(HeadBucketOutput {
            bucket_region: Some(String::from(REGION)),
            ..Default::default()
        })
    }

    fn bucket_location(&self, input: GetBucketLocationInput) -> S3Result<GetBucketLocationOutput> {
        let bucket = input.bucket;
        self.bucket(&bucket)?;
        // The home of us-east-1 is an empty location.
        Ok(GetBucketLocationOutput::default())
    }

    /// Lists in the order of names; the token of a page is the last name of the one before.
    fn list_buckets(&self, input: ListBucketsInput) -> S3Result<ListBucketsOutput> {
        let prefix = input.prefix.unwrap_or_default();
        let most = match input.max_buckets {
            None => usize::MAX,
            Some(most @ 1..=10_000) => usize::try_from(most).unwrap_or(usize::MAX),
            Some(_) => return Err(s3_error!(InvalidArgument)),
        };
        let after = input.continuation_token;
        let is_after = |name: &String| after.as_ref().is_none_or(|after| name > after);
        let mut names = self.names().into_iter();
        let mut names = names
            .by_ref()
            .filter(|(name, _)| name.starts_with(&prefix) && is_after(name));
        let shown: Vec<_> = names.by_ref().take(most).collect();
        let more = names.next().is_some();
        let last = shown.last().map(|(name, _)| name.clone());
        let buckets = shown.into_iter().map(|(name, created)| Bucket {
            name: Some(name),
            creation_date: Some(created.into()),
            ..Default::default()
        });
        Ok(ListBucketsOutput {
            buckets: Some(buckets.collect()),
            continuation_token: last.filter(|_| more),
            owner: Some(owner()),
            ..Default::default()
        })
    }
}

const REGION: &str = "us-east-1";
