"""The road home: offer, push, receipt; health up, directives down."""
