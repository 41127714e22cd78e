"""The pages. Streamlit runs each file as a script, so each ends by rendering itself."""
