"""The parts of the pages, one a file. Each draws with Streamlit what it is handed."""
