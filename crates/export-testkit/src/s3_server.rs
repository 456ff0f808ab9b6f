//! An S3 server for one machine: objects are files below a directory, and each key has the
//! permissions of its policy.
//!
//! The policies have the format of S3's own, so a deployment behaves like the tests.

mod access_log;
mod equal_parts;
mod lifecycle;
mod policy;

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{S3Result, s3_error};
use s3s_fs::FileSystem;
use tokio::net::TcpListener;

pub use access_log::AccessLog;
pub use policy::Policy;

use equal_parts::EqualParts;
use lifecycle::Lifecycles;

/// How long requests in progress may take after the stop signal.
const GRACE: Duration = Duration::from_secs(5);

/// A key and its permissions.
#[derive(Debug)]
pub struct Identity {
    /// The key's id.
    pub access_key_id: String,
    /// The key.
    pub secret_access_key: String,
    /// Its permissions; `None` means all.
    pub policy: Option<Policy>,
}

/// A server that is ready to serve.
pub struct S3Server {
    service: S3Service,
    log: AccessLog,
    equal_parts: Option<EqualParts>,
}

impl S3Server {
    /// A server of the buckets below `root`, which is created if missing.
    pub fn new(root: &Path, identities: Vec<Identity>) -> io::Result<Self> {
        std::fs::create_dir_all(root)?;
        let files = FileSystem::new(root).map_err(|error| io::Error::other(format!("{error:?}")))?;
        let mut auth = SimpleAuth::new();
        let mut policies = HashMap::new();
        for Identity { access_key_id, secret_access_key, policy } in identities {
            auth.register(access_key_id.clone(), secret_access_key.into());
            policies.insert(access_key_id, policy);
        }
        let administrators =
            policies.iter().filter(|(_, policy)| policy.is_none()).map(|(id, _)| id.clone()).collect();
        let mut builder = S3ServiceBuilder::new(files);
        builder.set_auth(auth);
        builder.set_access(Rights { policies, root: root.to_path_buf() });
        builder.set_route(Lifecycles::new(administrators));
        Ok(Self { service: builder.build(), log: AccessLog::default(), equal_parts: None })
    }

    /// Logs every request that may change something in this file.
    #[must_use]
    pub fn logging_to(mut self, log: AccessLog) -> Self {
        self.log = log;
        self
    }

    /// Refuses to complete an upload whose parts differ in size, as Cloudflare R2 does.
    #[must_use]
    pub fn demanding_equal_parts(mut self) -> Self {
        self.equal_parts = Some(EqualParts::default());
        self
    }

    /// Serves until `stop` is ready, then waits a few seconds for requests in progress.
    pub async fn serve(
        self,
        listener: TcpListener,
        stop: impl Future<Output = io::Result<()>>,
    ) -> io::Result<()> {
        let server = Builder::new(TokioExecutor::new());
        let connections = GracefulShutdown::new();
        let mut stop = std::pin::pin!(stop);
        loop {
            let socket = tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((socket, _)) => socket,
                    Err(error) => {
                        writeln!(io::stderr(), "a connection was lost before it began: {error}")?;
                        continue;
                    }
                },
                outcome = stop.as_mut() => {
                    outcome?;
                    break;
                }
            };
            // Small answers must not wait for acknowledgements of earlier ones.
            socket.set_nodelay(true)?;
            let (service, log, equal_parts) =
                (self.service.clone(), self.log.clone(), self.equal_parts.clone());
            let service = service_fn(move |request| {
                let entry = log.entry(&request);
                let refused = equal_parts.as_ref().and_then(|equal_parts| equal_parts.refuse(&request));
                let answering = Service::call(&service, request);
                async move {
                    let answer = match refused {
                        Some(refused) => Ok(refused),
                        None => answering.await,
                    };
                    if let Some(entry) = entry {
                        entry.write(answer.as_ref().map_or(0, |answer| answer.status().as_u16()));
                    }
                    answer
                }
            });
            let connection = server.serve_connection(TokioIo::new(socket), service).into_owned();
            let connection = connections.watch(connection);
            tokio::spawn(async move {
                // A client that disconnects in mid-request is not an error of the server.
                let _ = connection.await;
            });
        }
        // Connections that are still open after the grace period are closed.
        let _ = tokio::time::timeout(GRACE, connections.shutdown()).await;
        Ok(())
    }
}

/// What each key may do.
struct Rights {
    policies: HashMap<String, Option<Policy>>,
    root: PathBuf,
}

impl Rights {
    fn allow(&self, access_key_id: &str, context: &S3AccessContext<'_>) -> bool {
        let policy = match self.policies.get(access_key_id) {
            None => return false,
            Some(None) => return true,
            Some(Some(policy)) => policy,
        };
        let path = context.s3_path();
        let resource = match (path.get_bucket_name(), path.get_object_key()) {
            (Some(bucket), Some(key)) => format!("arn:aws:s3:::{bucket}/{key}"),
            (Some(bucket), None) => format!("arn:aws:s3:::{bucket}"),
            (None, _) => return false,
        };
        action(context.s3_op().name()).is_some_and(|action| policy.allows(action, &resource))
    }
}

#[async_trait]
impl S3Access for Rights {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        let key = context.credentials().map(|credentials| credentials.access_key.clone());
        let is_allowed = key.is_some_and(|key| self.allow(&key, context));
        let makes_it = context.s3_op().name() == "CreateBucket";
        match context.s3_path().get_bucket_name() {
            // Like S3: every client with a valid key learns that the bucket does not exist. (The
            // file system behind this would create it.)
            Some(bucket) if !makes_it && !self.root.join(bucket).is_dir() => Err(s3_error!(NoSuchBucket)),
            _ if is_allowed => Ok(()),
            _ => Err(s3_error!(AccessDenied, "Access Denied")),
        }
    }
}

/// The corresponding S3 action. An operation without one is for administrators only.
fn action(operation: &str) -> Option<&'static str> {
    Some(match operation {
        "GetObject" | "HeadObject" => "s3:GetObject",
        "PutObject" | "CreateMultipartUpload" | "UploadPart" | "CompleteMultipartUpload" => "s3:PutObject",
        "AbortMultipartUpload" => "s3:AbortMultipartUpload",
        "DeleteObject" => "s3:DeleteObject",
        "HeadBucket" | "ListObjects" | "ListObjectsV2" => "s3:ListBucket",
        "GetBucketLocation" => "s3:GetBucketLocation",
        _ => return None,
    })
}
