"""What a request brings: body, form, parameters, and its end if the client disconnects."""
