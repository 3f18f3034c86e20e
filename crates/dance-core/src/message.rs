//! TLS 1.3 Certificate and CertificateRequest messages, read without copying (RFC 9846 sections 4.4.2 and 4.5.1).
