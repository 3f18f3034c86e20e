//! Bodies on their way through: never copied, only watched.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::oneshot;
use tokio::time::Sleep;

use crate::proxy::{InFlight, Session};
use crate::upstream::Link;

/// How long a client that asked for `100 Continue` waits for an origin that does not answer (RFC 9110 section 10.1.1).
const CONTINUE_PATIENCE: Duration = Duration::from_secs(1);

/// A request's body on its way to the origin, if it has one.
pub(crate) struct RequestBody(Option<Streaming>);

struct Streaming {
    incoming: Incoming,
    session: Arc<Session>,
    progress: Arc<Progress>,
    gate: Option<Pin<Box<Gate>>>,
}

/// How far a request's body has come, for whoever waits for the response.
#[derive(Debug, Default)]
pub(crate) struct Progress(AtomicUsize);

impl Progress {
    const ENDED: usize = usize::MAX;
    const BROKEN: usize = usize::MAX - 1;

    /// Changes whenever a frame has come.
    pub(crate) fn frames(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Whether the client broke off, or sent what is no body.
    pub(crate) fn is_broken(&self) -> bool {
        self.frames() == Self::BROKEN
    }
}

pin_project_lite::pin_project! {
    /// Holds a body back until the origin has said `100 Continue`.
    struct Gate {
        go: oneshot::Receiver<()>,
        #[pin]
        patience: Sleep,
    }
}

impl Future for Gate {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        if Pin::new(this.go).poll(cx).is_ready() { Poll::Ready(()) } else { this.patience.poll(cx) }
    }
}

impl RequestBody {
    pub(crate) fn new(incoming: Incoming, session: Arc<Session>) -> Self {
        if incoming.is_end_stream() {
            return Self::empty();
        }
        session.pace.set_body_open(true);
        Self(Some(Streaming { incoming, session, progress: Arc::default(), gate: None }))
    }

    /// A body with nothing in it.
    pub(crate) const fn empty() -> Self {
        Self(None)
    }

    /// Where to watch it; `None` if there is nothing to come.
    pub(crate) fn progress(&self) -> Option<Arc<Progress>> {
        Some(Arc::clone(&self.0.as_ref()?.progress))
    }

    /// Sends nothing before the returned sender is used or dropped, or patience runs out.
    pub(crate) fn hold(&mut self) -> oneshot::Sender<()> {
        let (sender, go) = oneshot::channel();
        if let Some(body) = &mut self.0 {
            body.gate = Some(Box::pin(Gate { go, patience: tokio::time::sleep(CONTINUE_PATIENCE) }));
        }
        sender
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.0 else {
            return Poll::Ready(None);
        };
        if let Some(gate) = &mut body.gate {
            if gate.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            body.gate = None;
        }
        let mut polled = Pin::new(&mut body.incoming).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &mut polled
            && let Some(trailers) = frame.trailers_mut()
        {
            body.session.shared.rules.strip(trailers);
        }
        if let Poll::Ready(frame) = &polled {
            let ended = frame.is_none() || body.incoming.is_end_stream();
            let progress = match frame {
                Some(Err(_)) => Progress::BROKEN,
                _ if ended => Progress::ENDED,
                _ => body.progress.frames() + 1,
            };
            body.progress.0.store(progress, Ordering::Relaxed);
            if ended {
                body.session.pace.set_body_open(false);
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|body| body.incoming.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), |body| body.incoming.size_hint())
    }
}

/// A response's body on its way to the client.
pub(crate) enum ResponseBody {
    /// From the origin.
    Origin(OriginBody),
    /// The gateway's own.
    Own(Option<Bytes>),
}

/// A body from the origin. It drives the connection that it comes from, which no other task does, and gives it back at its end.
pub(crate) struct OriginBody {
    incoming: Incoming,
    link: Option<Box<Link>>,
    in_flight: InFlight,
}

impl OriginBody {
    pub(crate) const fn new(incoming: Incoming, link: Box<Link>, in_flight: InFlight) -> Self {
        Self { incoming, link: Some(link), in_flight }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.in_flight.asked_for();
        let polled = self.poll_incoming(cx);
        if let Poll::Ready(Some(Ok(_))) = &polled {
            self.in_flight.handed_out();
        }
        match &polled {
            Poll::Ready(Some(Ok(_))) if !self.incoming.is_end_stream() => {}
            Poll::Ready(Some(Ok(_)) | None) => self.release(cx),
            Poll::Ready(Some(Err(_))) => self.link = None,
            Poll::Pending => {}
        }
        polled
    }

    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        // Frames arrive only by driving the link, which happens here, so there is no waker to leave with the channel between the two.
        let mut quiet = Context::from_waker(Waker::noop());
        let polled = Pin::new(&mut self.incoming).poll_frame(&mut quiet);
        if polled.is_ready() {
            return polled;
        }
        let Some(link) = &mut self.link else {
            return Pin::new(&mut self.incoming).poll_frame(cx);
        };
        if link.drive(cx).is_ready() {
            self.link = None;
            return Pin::new(&mut self.incoming).poll_frame(cx);
        }
        Pin::new(&mut self.incoming).poll_frame(&mut quiet)
    }

    /// Gives the link back if this body is at its end.
    pub(crate) fn release_if_ended(&mut self, cx: &mut Context<'_>) {
        if self.incoming.is_end_stream() {
            self.release(cx);
        }
    }

    fn release(&mut self, cx: &mut Context<'_>) {
        if let Some(link) = self.link.take() {
            self.in_flight.shared().upstream.release(link, cx);
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut *self {
            Self::Origin(body) => body.poll_frame(cx),
            Self::Own(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Origin(body) => body.incoming.is_end_stream(),
            Self::Own(text) => text.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Origin(body) => body.incoming.size_hint(),
            Self::Own(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
        }
    }
}
