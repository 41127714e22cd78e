"""The dashboard: a Streamlit process that knows the service only through `lightbox_client`."""
