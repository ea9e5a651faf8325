! Lamina's reducer for Fortran 2008: compressed averages for gradients of one's own.
!
! What include/lamina/status.h, world.h and reducer.h declare, under the same names; the comments
! there are the documentation. Copy this file into a program and link liblamina.
!
! Shapes are told as in C, the last dimension first to vary: for array(m, n) dims are n, m.
! lamina_layer turns a shape round.
!
! SPDX-License-Identifier: Apache-2.0
module lamina
    use, intrinsic :: iso_c_binding
    implicit none
    public

    integer(c_int), parameter :: LMN_OK = 0
    integer, parameter :: LMN_STATE_DIMS_MAX = 6, LMN_REDUCER_SCALARS_MAX = 8
    integer, parameter :: LMN_ERROR_MESSAGE_BYTES = 1024

    type, bind(C) :: lmn_error
        integer(c_int) :: status = LMN_OK
        integer(c_int) :: rank = -1
        character(kind=c_char) :: message(LMN_ERROR_MESSAGE_BYTES) = c_null_char
    end type lmn_error

    type, bind(C) :: lmn_reducer_layer
        type(c_ptr) :: name = c_null_ptr
        integer(c_size_t) :: n_dims = 0
        integer(c_size_t) :: dims(LMN_STATE_DIMS_MAX) = 0
        logical(c_bool) :: dense = .false.
    end type lmn_reducer_layer

    ! Begin with lmn_reducer_options_default(): it also sets options that this type does not name.
    type, bind(C) :: lmn_reducer_options
        type(c_ptr) :: compress
        type(c_ptr) :: feedback
        type(c_ptr) :: allocate
        type(c_ptr) :: collective
        integer(c_size_t) :: bucket_bytes
        integer(c_size_t) :: dense_below
        integer(c_size_t) :: n_scalars
        integer(c_int64_t) :: other(32) ! room for options that newer versions have
    end type lmn_reducer_options

    type, bind(C) :: lmn_step_report
        logical(c_bool) :: applied
        character(kind=c_char) :: reason(256)
        real(c_float) :: scalars(LMN_REDUCER_SCALARS_MAX)
        integer(c_int64_t) :: bytes_sent
        integer(c_int64_t) :: bytes_dense
        real(c_double) :: seconds_encode
        real(c_double) :: seconds_wait
        real(c_double) :: seconds_decode
        integer(c_int64_t) :: other(64) ! what was decided on levels, and what newer versions tell
    end type lmn_step_report

    interface
        integer(c_int) function lmn_world_create_fortran(comm, log, world, err) bind(C)
            import :: c_int, c_ptr, lmn_error
            integer(c_int), value :: comm ! comm%MPI_VAL
            type(c_ptr), value :: log     ! c_null_ptr
            type(c_ptr), intent(out) :: world
            type(lmn_error), intent(inout) :: err
        end function lmn_world_create_fortran

        subroutine lmn_world_destroy(world) bind(C)
            import :: c_ptr
            type(c_ptr), value :: world
        end subroutine lmn_world_destroy

        type(lmn_reducer_options) function lmn_reducer_options_default() bind(C)
            import :: lmn_reducer_options
        end function lmn_reducer_options_default

        integer(c_int) function lmn_reducer_create(world, layers, n_layers, options, reducer, err) &
            bind(C)
            import :: c_int, c_ptr, c_size_t, lmn_error, lmn_reducer_layer, lmn_reducer_options
            type(c_ptr), value :: world
            type(lmn_reducer_layer), intent(in) :: layers(*)
            integer(c_size_t), value :: n_layers
            type(lmn_reducer_options), intent(in) :: options
            type(c_ptr), intent(out) :: reducer
            type(lmn_error), intent(inout) :: err
        end function lmn_reducer_create

        subroutine lmn_reducer_destroy(reducer) bind(C)
            import :: c_ptr
            type(c_ptr), value :: reducer
        end subroutine lmn_reducer_destroy

        ! Layers count from 0. For c_f_pointer, which makes an array of it.
        type(c_ptr) function lmn_reducer_gradient(reducer, layer) bind(C)
            import :: c_ptr, c_size_t
            type(c_ptr), value :: reducer
            integer(c_size_t), value :: layer
        end function lmn_reducer_gradient

        integer(c_int) function lmn_reducer_begin(reducer, step, err) bind(C)
            import :: c_int, c_int64_t, c_ptr, lmn_error
            type(c_ptr), value :: reducer
            integer(c_int64_t), value :: step ! from 0
            type(lmn_error), intent(inout) :: err
        end function lmn_reducer_begin

        integer(c_int) function lmn_reducer_ready(reducer, layer, gradient, err) bind(C)
            import :: c_int, c_ptr, c_size_t, lmn_error
            type(c_ptr), value :: reducer
            integer(c_size_t), value :: layer
            type(c_ptr), value :: gradient ! c_loc of contiguous real(c_float)
            type(lmn_error), intent(inout) :: err
        end function lmn_reducer_ready

        integer(c_int) function lmn_reducer_fail(reducer, status, cause, err) bind(C)
            import :: c_int, c_ptr, lmn_error
            type(c_ptr), value :: reducer
            integer(c_int), value :: status
            type(lmn_error), intent(in) :: cause
            type(lmn_error), intent(inout) :: err
        end function lmn_reducer_fail

        subroutine lmn_reducer_set_scalar(reducer, index, value) bind(C)
            import :: c_float, c_ptr, c_size_t
            type(c_ptr), value :: reducer
            integer(c_size_t), value :: index ! from 0
            real(c_float), value :: value
        end subroutine lmn_reducer_set_scalar

        integer(c_int) function lmn_reducer_progress(reducer, err) bind(C)
            import :: c_int, c_ptr, lmn_error
            type(c_ptr), value :: reducer
            type(lmn_error), intent(inout) :: err
        end function lmn_reducer_progress

        integer(c_int) function lmn_reducer_finish(reducer, report, err) bind(C)
            import :: c_int, c_ptr, lmn_error, lmn_step_report
            type(c_ptr), value :: reducer
            type(lmn_step_report), intent(out) :: report
            type(lmn_error), intent(inout) :: err
        end function lmn_reducer_finish

        ! Valid until the next begin.
        type(c_ptr) function lmn_reducer_estimate(reducer, layer) bind(C)
            import :: c_ptr, c_size_t
            type(c_ptr), value :: reducer
            integer(c_size_t), value :: layer
        end function lmn_reducer_estimate
    end interface

contains

    ! A layer for an array of this shape. name ends in c_null_char and lives until the create.
    function lamina_layer(name, array_shape) result(layer)
        character(kind=c_char, len=*), intent(in), target :: name
        integer, intent(in) :: array_shape(:)
        type(lmn_reducer_layer) :: layer
        layer%name = c_loc(name(1:1))
        layer%n_dims = size(array_shape, kind=c_size_t)
        layer%dims(:size(array_shape)) = array_shape(size(array_shape):1:-1)
    end function lamina_layer

    ! C's text as a string: what failed (err%message), or why a step was skipped (report%reason).
    function lamina_text(characters) result(text)
        character(kind=c_char), intent(in) :: characters(:)
        character(len=:), allocatable :: text
        integer :: i
        text = ""
        do i = 1, size(characters)
            if (characters(i) == c_null_char) exit
            text = text // characters(i)
        end do
    end function lamina_text
end module lamina
