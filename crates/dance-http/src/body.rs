//! A body that was read in search of a name, and is handed on as it was.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use pin_project_lite::pin_project;

use crate::identity::IdentityFields;
use crate::refusal::Refusal;

pin_project! {
    /// The request's body as the application gets it: untouched, or read in full and as it was; but for trailers that say who the client is,
    /// since those that come in are nobody's word.
    pub struct CheckedBody<B> {
        #[pin]
        inner: Inner<B>,
        fields: Arc<IdentityFields>,
    }
}

pin_project! {
    #[project = Projected]
    enum Inner<B> {
        Untouched { #[pin] body: B },
        Read { data: Option<Bytes>, trailers: Option<HeaderMap> },
    }
}

/// Reads a body of at most `limit` octets to its end.
///
/// # Errors
/// It is longer, or breaks off.
pub async fn read_body<B>(body: B, limit: usize) -> Result<(Bytes, Option<HeaderMap>), Refusal>
where
    B: Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if body.size_hint().lower() > u64::try_from(limit).unwrap_or(u64::MAX) {
        return Err(Refusal::BodyTooLarge);
    }
    match Limited::new(body, limit).collect().await {
        Ok(collected) => {
            let trailers = collected.trailers().cloned();
            Ok((collected.to_bytes(), trailers))
        }
        Err(error) if error.is::<LengthLimitError>() => Err(Refusal::BodyTooLarge),
        Err(_) => Err(Refusal::BodyIncomplete),
    }
}

impl<B> CheckedBody<B> {
    pub(crate) const fn untouched(body: B, fields: Arc<IdentityFields>) -> Self {
        Self { inner: Inner::Untouched { body }, fields }
    }

    pub(crate) fn read(data: Bytes, trailers: Option<HeaderMap>, fields: Arc<IdentityFields>) -> Self {
        Self { inner: Inner::Read { data: Some(data).filter(|data| !data.is_empty()), trailers }, fields }
    }
}

impl<B: Body<Data = Bytes>> Body for CheckedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        let frame = match this.inner.project() {
            Projected::Untouched { body } => ready!(body.poll_frame(context)),
            Projected::Read { data, trailers } => {
                data.take().map(Frame::data).or_else(|| trailers.take().map(Frame::trailers)).map(Ok)
            }
        };
        let stripped = |frame: Frame<Bytes>| match frame.into_trailers() {
            Ok(mut trailers) => {
                this.fields.strip_trailers(&mut trailers);
                Frame::trailers(trailers)
            }
            Err(data) => data,
        };
        Poll::Ready(frame.map(|frame| frame.map(stripped)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Inner::Untouched { body } => body.is_end_stream(),
            Inner::Read { data, trailers } => data.is_none() && trailers.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Inner::Untouched { body } => body.size_hint(),
            Inner::Read { data, .. } => SizeHint::with_exact(data.as_ref().map_or(0, |data| data.len() as u64)),
        }
    }
}
